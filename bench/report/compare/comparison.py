"""Two files in, one comparison out: what differs, what became worse, and the exit status that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.report.compare.changes import (
    ORDER,
    ExactChange,
    PeakChange,
    StateChange,
    count,
    exact_changes,
    peak_changes,
    transitions,
)
from bench.report.compare.conditions import Difference, differences
from bench.report.compare.matching import Pair, match
from bench.report.compare.quality import QualityChange, quality_changes
from bench.report.compare.ratios import RatioChange, ratio_changes, took_turns
from bench.report.compare.times import TimeChange, time_changes
from bench.report.formats import counted, listing
from bench.report.load import Run, load

PLURALS = {"exact quantity": "exact quantities", "quality": "qualities", "peak of memory": "peaks of memory"}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``new`` against ``old``. Labels of the runs are the paths as given."""

    old: Run
    new: Run
    differences: tuple[Difference, ...]
    """Differences that make them incomparable; empty where they may be compared."""
    anyway: bool
    """True if they were to be compared all the same."""
    pairs: tuple[Pair, ...]
    transitions: tuple[StateChange, ...] = ()
    exact: tuple[ExactChange, ...] = ()
    peaks: tuple[PeakChange, ...] = ()
    ratios: tuple[RatioChange, ...] = ()
    times: tuple[TimeChange, ...] = ()
    quality: tuple[QualityChange, ...] = ()

    @property
    def refused(self) -> bool:
        return bool(self.differences) and not self.anyway

    @property
    def judged_times(self) -> list[TimeChange]:
        """Times that decide: of rows without turns, and not of the machine alone."""
        return [item for item in self.times if not item.of_the_machine and not took_turns(item.pair)]

    @property
    def regressions(self) -> Mapping[str, int]:
        """Numbers of what became worse, by name."""
        counts = {
            "ratio": count(self.ratios, "worse"),
            "timed row": count(self.judged_times, "worse"),
            "exact quantity": count(self.exact, "worse"),
            "peak of memory": count(self.peaks, "worse"),
            "quality": count(self.quality, "worse"),
            "newly failing case": sum(item.change == "newly failing" for item in self.transitions),
        }
        return {name: number for name, number in counts.items() if number}

    @property
    def machine_changes(self) -> int:
        """Timed rows of the machine alone that became worse or better: no code of ours is in them."""
        of_the_machine = [item for item in self.times if item.of_the_machine]
        return count(of_the_machine, "worse") + count(of_the_machine, "better")

    @property
    def status(self) -> int:
        """Exit status: 0 without a regression, 1 with one, 2 where the runs were not compared."""
        return 2 if self.refused else int(bool(self.regressions))

    @property
    def verdict(self) -> str:
        """First line for a reader or a log."""
        names = listing(list(dict.fromkeys(item.name for item in self.differences)))
        if self.refused:
            return f"Not comparable: {names} not the same in both runs. Nothing was compared (--anyway does)."
        despite = f"Not comparable ({names} not the same), compared anyway. " if self.differences else ""
        both = sum(pair.both is not None for pair in self.pairs)
        found = listing([counted(number, name, PLURALS.get(name, "")) for name, number in self.regressions.items()])
        judged = f"Regression: {found}." if found else "No regression found."
        machine = (
            f" The machine itself changed in {counted(self.machine_changes, 'row')}." if self.machine_changes else ""
        )
        return f"{despite}{judged} {counted(both, 'case')} in both runs. {self._speeds()}{machine}"

    def _speeds(self) -> str:
        """Outcomes of ratios and times, never silent of rows that nothing could be said of."""
        sentences = []
        for items, noun in ((self.ratios, "ratio"), (self.judged_times, "timed row")):
            counts = [f"{number} {outcome}" for outcome in ORDER if (number := count(items, outcome))]
            sentences += [f"Of {counted(len(items), noun)}: {listing(counts)}."] if items else []
        return " ".join(sentences) or "No times were compared."


def compare(old: Path, new: Path, *, anyway: bool = False) -> Comparison:
    """The run in ``new`` against the run in ``old``; where they are incomparable only if ``anyway``.

    Raises:
        InputError: a file is not a run, or the two have no case in common.
    """
    runs = load(old, label=str(old)), load(new, label=str(new))
    pairs = match(*runs)
    if not any(pair.both for pair in pairs):
        raise InputError(f"{old} and {new} have no case in common: compare two runs of the same cases.")
    found = differences(*runs, pairs)
    refusal = Comparison(old=runs[0], new=runs[1], differences=found, anyway=anyway, pairs=pairs)
    if refusal.refused:
        return refusal
    return Comparison(
        old=runs[0],
        new=runs[1],
        differences=found,
        anyway=anyway,
        pairs=pairs,
        transitions=transitions(pairs),
        exact=exact_changes(pairs),
        peaks=peak_changes(pairs),
        ratios=ratio_changes(pairs),
        times=time_changes(pairs, cores=(runs[0].machine.cores, runs[1].machine.cores), one_machine=not found),
        quality=quality_changes(*runs, pairs),
    )
