from __future__ import annotations

import pytest

from bench.report.formats import listing, number, ranged, shortened, unsigned_zero
from bench.report.parts import Quantity, anchor
from bench.report.statistics import Estimate, Interval


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.0, 3, "0"), (1234567, 3, "1,234,567"), (0.01234, 3, "0.0123"), (12.0, 2, "12"), (-0.5, 3, "-0.500")],
)
def test_numbers_keep_their_digits(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, interval=Interval(low=low, high=high))


def test_an_interval_says_how_many_digits_count() -> None:
    milliseconds = Quantity(name="p50", unit="ms", scale=1e3, better="lower")
    assert milliseconds.text(estimate(0.0022, 0.002, 0.0024)) == "2.20 ± 0.20"
    assert milliseconds.text(estimate(0.0022, 0.0021, 0.0025)) == "2.20 ± 0.30"  # the longer side
    assert milliseconds.text(Estimate(value=0.0022, interval=None)) == "2.20"
    assert (milliseconds.text(None), milliseconds.header) == ("–", "p50, ms ↓")


def test_signed_values_never_say_minus_zero() -> None:
    points = Quantity(name="change", scale=100, signed=True, decimals=2)
    assert points.text(estimate(-0.00001, -0.01, 0.01)) == "0.0 ± 1.0"
    assert points.text(0.0123) == "+1.23"
    assert points.text(-0.0123) == "-1.23"
    assert unsigned_zero("-0.00 ± 0.10") == "0.00 ± 0.10"


def test_lists_and_ranges() -> None:
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing([str(place) for place in range(8)], most=2) == "0, 1 and 6 more"
    assert (ranged([1.0, 2.5]), ranged([1.0, 1.0])) == ("1.0 to 2.5", "1.0")
    assert shortened("a\nb  c") == "a b c"
    assert shortened("x" * 300).endswith("(300 characters)")


@pytest.mark.parametrize(("title", "key"), [("Which route?", "which-route"), ("a_b <c>", "a_b-c"), ("?", "section")])
def test_anchors_are_those_of_github(title: str, key: str) -> None:
    assert anchor(title) == key


def test_an_interval_wider_than_its_value_shows_both_ends() -> None:
    assert Quantity(name="ratio").text(estimate(2.0, 0.1, 40.0)) == "2.00 (0.100 to 40.0)"
