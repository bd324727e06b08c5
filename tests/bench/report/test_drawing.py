from __future__ import annotations

import itertools

import pytest

from bench.report.drawing import COLOURS, INK, spread

WHITE, DARK = "#ffffff", "#0d1117"
"""GitHub's pages."""


def luminance(colour: str) -> float:
    """Relative, by WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", [WHITE, DARK])
def test_text_and_lines_can_be_read_on_light_and_dark_pages(page: str) -> None:
    assert contrast(INK, page) > 4
    assert min(contrast(colour, page) for colour in COLOURS) > 3


def test_labels_are_moved_apart_and_stay_inside() -> None:
    moved = spread([5.0, 5.1, 0.0, 9.9, 10.0], 1.0, 0.0, 10.0)
    ordered = sorted(moved)
    assert all(after - before >= 1.0 - 1e-9 for before, after in itertools.pairwise(ordered))
    assert ordered[0] >= 0
    assert ordered[-1] <= 10
    assert spread([1.0, 5.0], 1.0, 0.0, 10.0) == [1.0, 5.0]
