"""Colours that everyone can tell apart: contrast in light and dark, distance for the colour-blind."""

from __future__ import annotations

import itertools
import re

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure

from bench.core.precisions import PRECISIONS
from bench.report.drawings.style import (
    BLUE,
    DARK_PAGE,
    GREEN,
    GREY,
    INK,
    LIGHT_PAGE,
    LOOKS,
    ORANGE,
    PURPLE,
    look,
    svg,
    wrapped,
)

COLOURS = {"ink": INK, "grey": GREY, "blue": BLUE, "orange": ORANGE, "purple": PURPLE, "green": GREEN}
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
"""Linear RGB as a deuteranope sees it. Source: Machado, Oliveira and Fernandes 2009, severity 1."""
Vector = npt.NDArray[np.float64]


def linear(colour: str) -> Vector:
    """Linear RGB of ``#rrggbb`` in sRGB."""
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Ratio of relative luminances, as WCAG 2 defines it."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    light, dark = sorted((float(weights @ linear(one)), float(weights @ linear(other))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: Vector) -> Vector:
    """CIE L*a*b* of linear sRGB, white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    roots = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])])


@pytest.mark.parametrize("name", COLOURS)
def test_everything_can_be_read_on_both_pages(name: str) -> None:
    colour = COLOURS[name]
    assert contrast(colour.light, LIGHT_PAGE) >= 4.5
    assert contrast(colour.dark, DARK_PAGE) >= 4.5


@pytest.mark.parametrize("page", ["light", "dark"])
def test_families_differ_for_the_colour_blind(page: str) -> None:
    """Where two precisions have the same shape, their colours alone tell them apart."""
    for one, other in itertools.combinations((GREY, BLUE, ORANGE, PURPLE, GREEN), 2):
        seen = [lab(DEUTERANOPIA @ linear(getattr(colour, page))) for colour in (one, other)]
        assert float(np.linalg.norm(seen[0] - seen[1])) > 14, (one, other)


def test_no_two_precisions_look_alike() -> None:
    assert len(set(LOOKS.values())) == len(LOOKS)
    assert set(PRECISIONS) <= set(LOOKS)
    assert look("a precision of tomorrow")[0] == GREEN


def test_a_picture_is_the_same_to_the_byte_and_knows_dark_pages() -> None:
    def draw() -> Figure:
        picture = Figure(figsize=(1, 1))
        picture.add_axes((0.2, 0.2, 0.7, 0.7)).plot([1, 2], color=ORANGE.light)
        return picture

    one, two = svg(draw), svg(draw)
    assert one == two
    assert re.search(rb"prefers-color-scheme: dark.*" + ORANGE.dark.encode(), one)
    assert f"stroke: {ORANGE.light}".encode() in one


def test_what_does_not_fit_is_cut() -> None:
    assert wrapped(["one", "two"], 20, 2) == "one, two"
    assert len(wrapped([f"route {place}" for place in range(20)], 20, 2).splitlines()) == 2
