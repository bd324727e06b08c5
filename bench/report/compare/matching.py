"""Pairs of cases: which case of one run is which of the other.

A case is the same where its `Case.row` is. But two versions of the suite may describe one case differently (an option
more, another folder for the same data), and two runs of one case may have been given other settings; such cases are
matched as well, if there is one candidate only, and what differs is listed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.core.records import Case, Failure, Measurement, Scalar
from bench.report.load import Run
from bench.report.names import names_of
from bench.report.pairing import compared
from bench.report.results import Result, Route

PLACE = ("device", "threads", "budget")
"""Settings of a whole run."""
CELL = (
    *("experiment", "model", "recipe", "image_size", "runtime", "precision", "mode", "batch_size", "seed"),
    "pipeline",
)
"""Fields of a case that say to people which it is; the name of its data set is another one."""
DIGESTS = ("model_digest", "text_digest", "weights_digest")
"""Options that are hashes of what a case was given."""
LOOSE = ("max_seconds", "min_samples", "judging_seconds", "test_images")
"""Options that say how long something is measured or on how many images it is judged, not what."""
FILES = ("text", "weights", "source")
"""Options that name a file, or hash the user's code: they differ between two checkouts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """Content of one run on one case, repeats joined."""

    case: Case
    dataset: str
    """Name of its data set."""
    result: Result | None
    """None where no process gave a measurement."""
    failures: tuple[Failure, ...]

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """One for each process that measured."""
        return self.result.measurements if self.result else ()

    @property
    def settings(self) -> dict[str, Scalar]:
        """Options that are settings: neither hashes nor files."""
        return {name: value for name, value in self.case.options if name not in (*DIGESTS, *FILES)}

    @property
    def cell(self) -> tuple[object, ...]:
        return (self.dataset, *(getattr(self.case, name) for name in CELL))

    @property
    def place(self) -> tuple[object, ...]:
        return tuple(getattr(self.case, name) for name in PLACE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """One case in both runs; None where a run does not have it."""

    old: Entry | None
    new: Entry | None

    @property
    def entry(self) -> Entry:
        """Entry of the new run, or of the old one where the new one lacks the case."""
        entry = self.new or self.old
        assert entry is not None
        return entry

    @property
    def case(self) -> Case:
        return self.entry.case

    @property
    def route(self) -> Route:
        return Route(self.case.runtime, self.case.precision, self.case.mode)

    @property
    def both(self) -> tuple[Entry, Entry] | None:
        return (self.old, self.new) if self.old and self.new else None

    @property
    def results(self) -> tuple[Result, Result] | None:
        """Results of both runs; None where one has none."""
        old, new = (entry.result if entry else None for entry in (self.old, self.new))
        return (old, new) if old is not None and new is not None else None


def match(old: Run, new: Run) -> tuple[Pair, ...]:
    """Every case of either run once, sorted as in the report."""
    olds, news = _cells(old), _cells(new)
    pairs = [pair for cell in dict.fromkeys((*olds, *news)) for pair in _pairs(olds.get(cell, []), news.get(cell, []))]
    return tuple(sorted(pairs, key=_order))


def cell(pair: Pair, without: Sequence[str] = ()) -> tuple[object, ...]:
    """Key of the case, to group pairs by."""
    names = [name for name in CELL if name not in without]
    return (pair.entry.dataset, *(getattr(pair.case, name) for name in names))


def _order(pair: Pair) -> tuple[str, ...]:
    case = pair.case
    return (case.experiment, case.model, f"{case.image_size:6d} {case.batch_size:6d}", pair.route.name, str(case))


def _cells(run: Run) -> dict[tuple[object, ...], list[Entry]]:
    names = names_of([run])
    results = {result.case: result for result in compared([run])}
    failures: dict[Case, list[Failure]] = {}
    for failure in run.failures:
        failures.setdefault(dataclasses.replace(failure.case, repeat=0), []).append(failure)
    cells: dict[tuple[object, ...], list[Entry]] = {}
    for case in dict.fromkeys((*results, *failures)):
        entry = Entry(
            case=case,
            dataset=names.dataset(run, case.dataset),
            result=results.get(case),
            failures=tuple(failures.get(case, ())),
        )
        cells.setdefault(entry.cell, []).append(entry)
    return cells


def _pairs(olds: Sequence[Entry], news: Sequence[Entry]) -> list[Pair]:
    found: list[Pair] = []
    for alike in (_same, _near, _far):
        matched = _unique(olds, news, alike)
        found += [Pair(old=old, new=new) for old, new in matched]
        taken = {id(entry) for pair in matched for entry in pair}
        olds, news = ([entry for entry in side if id(entry) not in taken] for side in (olds, news))
    return [*found, *(Pair(old=entry, new=None) for entry in olds), *(Pair(old=None, new=entry) for entry in news)]


def _unique(
    olds: Sequence[Entry], news: Sequence[Entry], alike: Callable[[Entry, Entry], bool]
) -> list[tuple[Entry, Entry]]:
    """Pairs that are alike to each other and to nothing else."""
    found = []
    for old in olds:
        candidates = [new for new in news if alike(old, new)]
        if len(candidates) == 1 and sum(alike(other, candidates[0]) for other in olds) == 1:
            found.append((old, candidates[0]))
    return found


def _same(old: Entry, new: Entry) -> bool:
    return old.settings == new.settings and old.place == new.place


def _near(old: Entry, new: Entry) -> bool:
    return _far(old, new) and old.place == new.place


def _far(old: Entry, new: Entry) -> bool:
    """True if the settings that both name are the same: a prompt of 128 tokens is never one of 256."""
    named = (old.settings.keys() & new.settings.keys()) - set(LOOSE)
    return all(old.settings[name] == new.settings[name] for name in named)
