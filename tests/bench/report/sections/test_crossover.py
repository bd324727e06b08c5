"""Crossover: the batch size from which on a route is the fastest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.report.parts import Pictures, walk
from bench.report.sections import crossover
from bench.report.sections.crossover import courses_of, crossover_section

RATIOS = {1: 0.5, 2: 0.9, 4: 2.0, 8: 3.0}
"""Batch size -> speed of bf16 over fp32's."""


def rows_of(make: Any) -> list[Any]:
    rows = []
    for batch, ratio in RATIOS.items():
        rows.append(make.in_turns([[1.0] * 5] * 3, batch_size=batch))
        rows.append(make.in_turns([[ratio] * 5] * 3, batch_size=batch, precision="bf16"))
    return rows


def test_a_route_wins_from_where_no_other_is_faster(make: Any, content_of: Any) -> None:
    (choices,) = content_of(*rows_of(make)).networks
    courses = {one.route.precision: one for one in courses_of(choices)}
    assert (courses["fp32"].wins, courses["fp32"].words) == ((1, 2), "at 1, 2")
    assert (courses["bf16"].wins, courses["bf16"].words) == ((4, 8), "from 4")
    assert courses["bf16"].rates[8] == 8 * 3 / 0.001


def test_it_is_drawn_from_three_batch_sizes_on(make: Any, content_of: Any) -> None:
    section = crossover_section(content_of(*rows_of(make)))
    assert section is not None
    (pictures,) = (part for part in walk([section]) if isinstance(part, Pictures))
    assert [picture.file for picture in pictures.pictures] == ["crossover-cnn_small-1.svg"]
    assert crossover_section(content_of(*rows_of(make)[:4])) is None


def test_no_more_is_drawn_than_is_shown(make: Any, content_of: Any, monkeypatch: Any) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(crossover, "MOST", 1)
    monkeypatch.setattr(crossover, "crossover_picture", lambda model, lines: drawn.append(model) or "<svg/>")
    sizes = [replace(row, case=replace(row.case, image_size=side)) for side in (32, 64) for row in rows_of(make)]
    assert crossover_section(content_of(*sizes)) is not None
    assert drawn == ["cnn_small"]
