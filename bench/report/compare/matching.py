"""Which case of one run is which case of the other.

A case is the same where its `Case.row` is. But two versions of the suite may describe one case differently (an option
more, another folder for the same data), and two runs of one case may have been given other settings; such cases are
matched as well, if there is one candidate only, and what differs is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.core.records import Case, Failure, Measurement, Scalar
from bench.report.frame import rows_of, tidy
from bench.report.load import Run
from bench.report.names import names_of
from bench.report.rows import IDENTITY, Row, identity, sort_key

Status = Literal["measured", "failed", "unsupported"]

PLACE = ("device", "threads", "budget")
"""Settings of a whole run."""
CELL = tuple(name for name in IDENTITY if name not in ("machine", "code", "options", *PLACE))
"""What says to people which case it is."""
DIGESTS = ("model_digest", "text_digest", "weights_digest")
"""Options that are hashes of what a case was given."""
LOOSE = ("max_seconds", "min_samples", "judging_seconds", "test_images")
"""Options that say how long something is measured or on how many images it is judged, not what."""
FILES = ("text", "weights", "source")
"""Options that name a file, or hash the user's code: they differ between two checkouts."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one run holds of one case, repeats joined."""

    case: Case
    identity: Row
    row: Row | None
    """The row of the frame; None where no process gave a measurement."""
    failures: tuple[Failure, ...]

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """One for each process that measured."""
        return self.row["measurements"] if self.row else ()

    @property
    def status(self) -> Status:
        """``failed`` as soon as one process failed."""
        if not self.failures:
            return "measured"
        return "failed" if any(failure.kind != "unsupported" for failure in self.failures) else "unsupported"

    @property
    def settings(self) -> dict[str, Scalar]:
        """Options that are settings: neither hashes nor files."""
        return {name: value for name, value in self.case.options if name not in (*DIGESTS, *FILES)}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One case in both runs; None where a run does not have it."""

    old: Entry | None
    new: Entry | None

    @property
    def identity(self) -> Row:
        """As the new run names the case, or the old one where the new one does not have it."""
        entry = self.new or self.old
        assert entry is not None
        return entry.identity

    @property
    def both(self) -> tuple[Entry, Entry] | None:
        return (self.old, self.new) if self.old and self.new else None

    @property
    def rows(self) -> tuple[Row, Row] | None:
        """Of the frame, where both runs have a measurement."""
        old, new = (entry.row if entry else None for entry in (self.old, self.new))
        return (old, new) if old is not None and new is not None else None


def match(old: Run, new: Run) -> tuple[Pair, ...]:
    """Every case of either run once, sorted as in the report."""
    olds, news = _cells(old), _cells(new)
    pairs = [pair for cell in dict.fromkeys((*olds, *news)) for pair in _pairs(olds.get(cell, []), news.get(cell, []))]
    return tuple(sorted(pairs, key=lambda pair: sort_key(pair.identity)))


def cell(pair: Pair, without: Sequence[str] = ()) -> tuple[object, ...]:
    """Values of ``CELL``, to group pairs by."""
    return tuple(pair.identity[name] for name in CELL if name not in without)


def _cells(run: Run) -> dict[tuple[object, ...], list[Entry]]:
    names, frame = names_of([run]), tidy([run])
    rows = {row["row"]: row for experiment in sorted(run.experiments) for row in rows_of(frame, experiment)}
    cases = {case.row: case for case in _cases(run)}
    failures: dict[str, list[Failure]] = {}
    for failure in run.failures:
        failures.setdefault(failure.case.row, []).append(failure)
    cells: dict[tuple[object, ...], list[Entry]] = {}
    for digest, case in cases.items():
        told = identity(case, run, names)
        entry = Entry(case=case, identity=told, row=rows.get(digest), failures=tuple(failures.get(digest, ())))
        cells.setdefault(tuple(told[name] for name in CELL), []).append(entry)
    return cells


def _cases(run: Run) -> list[Case]:
    return [*(outcome.case for outcome in run.measurements), *(outcome.case for outcome in run.failures)]


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
    """Those that are alike to each other and to nothing else."""
    found = []
    for old in olds:
        candidates = [new for new in news if alike(old, new)]
        if len(candidates) == 1 and sum(alike(other, candidates[0]) for other in olds) == 1:
            found.append((old, candidates[0]))
    return found


def _same(old: Entry, new: Entry) -> bool:
    return old.settings == new.settings and _place(old) == _place(new)


def _near(old: Entry, new: Entry) -> bool:
    return _far(old, new) and _place(old) == _place(new)


def _far(old: Entry, new: Entry) -> bool:
    """Whether the settings that both name are the same: a prompt of 128 tokens is never one of 256."""
    named = (old.settings.keys() & new.settings.keys()) - set(LOOSE)
    return all(old.settings[name] == new.settings[name] for name in named)


def _place(entry: Entry) -> tuple[Scalar, ...]:
    return tuple(entry.identity[name] for name in PLACE)
