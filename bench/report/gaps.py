"""Inference that some networks of a run have and others lack: what was left out, as far as its cases tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core.records import Case
from bench.report.load import Run

Cell = tuple[str, str, int]
"""Precision, mode, batch size."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Precisions that ``models`` lack; where ``others`` is set, all models but these."""

    precisions: tuple[str, ...]
    models: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    """Empty: all batch sizes that other networks have."""
    others: bool


def gaps(run: Run) -> list[Gap]:
    """Failed and unsupported cases are no gap: the report gives their reasons."""
    cases = [*(item.case for item in run.measurements), *(item.case for item in run.failures)]
    return [
        gap
        for some in _by_size([case for case in cases if case.experiment == "inference"]).values()
        for gap in _gaps(some)
    ]


def _by_size(cases: Sequence[Case]) -> dict[tuple[str, int], dict[str, set[Cell]]]:
    """The cells of each network, by data set and size of the images: other sizes have other batch sizes."""
    found: dict[tuple[str, int], dict[str, set[Cell]]] = {}
    for case in cases:
        networks = found.setdefault((case.dataset, case.image_size), {})
        networks.setdefault(case.model, set()).add((case.precision, case.mode, case.batch_size))
    return found


def _gaps(networks: Mapping[str, set[Cell]]) -> list[Gap]:
    """What is missing of the grid, precisions that are missing alike together."""
    grid = sorted(set().union(*networks.values()))
    alike: dict[tuple[tuple[str, ...], tuple[int, ...], bool], list[str]] = {}
    for precision, mode in dict.fromkeys(cell[:2] for cell in grid):
        modes = {cell[1] for cell in grid if cell[0] == precision}
        sizes = {cell[2] for cell in grid if cell[:2] == (precision, mode)}
        name = precision if len(modes) == 1 else f"{precision} {mode}"
        has = {model: {cell[2] for cell in cells if cell[:2] == (precision, mode)} for model, cells in networks.items()}
        for key in _missing(has, sizes):
            alike.setdefault(key, []).append(name)
    return [
        Gap(precisions=tuple(names), models=models, batch_sizes=batches, others=others)
        for (models, batches, others), names in alike.items()
    ]


def _missing(has: Mapping[str, set[int]], sizes: set[int]) -> list[tuple[tuple[str, ...], tuple[int, ...], bool]]:
    """Models, batch sizes and whether the others are meant, of one precision and mode."""
    having = tuple(model for model, found in has.items() if found)
    lacking = tuple(model for model, found in has.items() if not found)
    few = len(having) < len(lacking)
    found = [(having if few else lacking, (), few)] if lacking else []
    partly: dict[tuple[int, ...], list[str]] = {}
    for model in having:
        if sizes - has[model]:
            partly.setdefault(tuple(sorted(sizes - has[model])), []).append(model)
    return [*found, *((tuple(models), batches, False) for batches, models in partly.items())]
