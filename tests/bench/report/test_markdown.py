from __future__ import annotations

import pytest

from bench.report.markdown import (
    escape,
    integer,
    listing,
    megabytes,
    number,
    percent,
    plus_minus,
    points,
    probability,
    ranged,
    small_percent,
    table,
    unsigned_zero,
)


@pytest.mark.parametrize("character", ["|", "`", "<", ">", "*", "[", "]", "~", "$", "\\", "&"])
def test_no_character_of_markdown_survives(character: str) -> None:
    escaped = escape(f"a{character}b")
    assert escaped.replace("&amp;", "").startswith("a&" if character != "&" else "ab")
    assert character == "&" or character not in escaped


def test_line_breaks_stay_inside_the_cell() -> None:
    assert escape("first\r\n  second\nthird") == "first<br>second<br>third"
    assert escape("<br>") == "&lt;br&gt;"


def test_underscores_are_kept_where_they_mean_nothing() -> None:
    assert escape("cnn_small") == "cnn_small"
    assert escape("__init__") == "&#95;&#95;init&#95;&#95;"
    assert escape("see _this_ now") == "see &#95;this&#95; now"


def test_a_table_has_one_line_a_row_and_the_cells_as_they_are() -> None:
    lines = table([{"name": "a|b\nc", "value": "007"}, {"name": "1e5", "value": "1.50"}], left=("name",)).splitlines()
    assert [line.count("|") for line in lines] == [3, 3, 3, 3]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["a&#124;b<br>c", "007"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["1e5", "1.50"]
    assert lines[1].startswith("|:--")
    assert lines[1].endswith("--:|")


def test_empty_columns_go_unless_they_are_to_be_kept() -> None:
    rows = [{"a": "1", "b": "–", "c": "–"}]
    assert table(rows, keep=("b",)).splitlines()[0].split() == ["|", "a", "|", "b", "|"]


@pytest.mark.parametrize(
    ("value", "error", "scale", "text"),
    [
        (0.0012345, 0.0000123, 1e3, "1.234 ± 0.012"),
        (1234.5, 56.0, 1, "1,234 ± 56"),
        (0.5, 0.5, 1, "0.50 ± 0.50"),
        (12.0, 345.0, 1, "12 ± 345"),
        (3.14159, None, 1, "3.14"),
        (3.14159, 0.0, 1, "3.14"),
        (3.14159, 1e-15, 1, "3.14"),  # what is left of rounding
        (None, 1.0, 1, "–"),
    ],
)
def test_plus_minus_is_cut_at_the_second_digit_of_the_error(
    value: float | None, error: float | None, scale: float, text: str
) -> None:
    assert plus_minus(value, error, scale) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1.66, 1.1812, 2.3319, "1.66 (1.18 to 2.33)"),
        (2.33, 0.994, 5.4, "2.33 (0.99 to 5.40)"),  # one decimal would not tell on which side of 1 it ends
        (0.3257, 0.3192, 0.33238, "0.3257 (0.3192 to 0.3324)"),
        (123.4, 101.0, 150.2, "123 (101 to 150)"),
        (2.0, 2.0, 2.0, "2.00"),
        (2.0, None, None, "2.00"),
        (None, None, None, "–"),
    ],
)
def test_ratios_show_both_ends(value: float | None, low: float | None, high: float | None, text: str) -> None:
    assert ranged(value, low, high) == text


def test_nothing_has_no_sign() -> None:
    assert [points(-0.00001, 0.05), points(0.0, 0.0), points(-0.001)] == ["0.00 ± 5.00", "0.00 ± 0.00", "-0.10"]
    assert [unsigned_zero(text) for text in ("-0.00 ± 0.18", "+0", "-0.10 ± 0.20")] == [
        "0.00 ± 0.18",
        "0",
        "-0.10 ± 0.20",
    ]


def test_numbers() -> None:
    assert [number(value) for value in (0.0, 0.01234, 1.5, 98765.4, None)] == ["0", "0.0123", "1.50", "98,765", "–"]
    assert percent(0.6486, 0.00477) == "64.86 ± 0.48"
    assert megabytes(174_504) == "0.175"
    assert integer(43_626.0) == "43,626"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a", "b", "c"], most=2) == "a, b and 1 more"


def test_small_shares_keep_two_digits() -> None:
    shares = (0.0005, 0.000547, 0.00001234, 0.0512, 0.9998, 0.0, None)
    assert [small_percent(share) for share in shares] == ["0.05", "0.055", "0.0012", "5.1", "100.0", "0", "–"]


def test_differences_have_signs_and_tiny_chances_a_bound() -> None:
    assert [points(-0.0042, 0.0013), points(0.01), points(None)] == ["-0.42 ± 0.13", "+1.00", "–"]
    assert [probability(value) for value in (1.0, 0.0312, 1e-9, 0.0, None)] == [
        "1.0",
        "0.031",
        "<0.0001",
        "<0.0001",
        "–",
    ]
