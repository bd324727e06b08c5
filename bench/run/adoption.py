"""What of a journal an interrupted run may go on from, and why the rest is left out. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.core.records import Failure, Measurement
from bench.run.fingerprint import fingerprint
from bench.run.journal import Contents, Entry, RunStart, Tried, told

TRIED_AGAIN = "failed, and are tried again"
FILES_GONE = "without their files of weights or predicted labels, which are gone or altered"


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """Measurements that stand for cases of this run, by the ids of the cases, and what was left out."""

    entries: Mapping[str, Entry | Tried] = field(default_factory=dict)
    starts: Mapping[str, RunStart] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many cases, by reason."""
    damaged: tuple[str, ...] = ()
    """Lines of the journal that are none, and why."""

    def lines(self) -> list[str]:
        """For people: what can be taken from which runs, and what cannot."""
        runs = Counter(entry.run for entry in self.entries.values())
        origins = "; ".join(f"{count} of run {run}{self._begun(run)}" for run, count in runs.items())
        found = f"resuming: {len(self.entries)} measurements of this code, machine and data"
        return [
            f"{found} ({origins})" if origins else found,
            *(f"left out: {count} {reason}" for reason, count in self.left_out.items()),
            *(f"left out: {line}" for line in self.damaged),
        ]

    def _begun(self, run: str) -> str:
        start = self.starts.get(run)
        return f", begun {start.facts['started']}" if start and "started" in start.facts else ""


def adopt(contents: Contents, marks: Mapping[str, str], whole: Callable[[Measurement], bool]) -> Adoption:
    """The last measurement of each case that was taken under ``marks``.

    Args:
        whole: whether the files that a measurement speaks of are still there.
    """
    taken: dict[str, Entry | Tried] = {}
    left_out: dict[str, str] = {}
    for entry in contents.finished:
        if isinstance(entry, Tried) and isinstance(entry.outcome, Failure):
            continue  # nobody asked for it
        reason = _why_not(entry, marks, contents.starts.get(entry.run), whole)
        if reason:
            left_out[entry.outcome.case.id] = reason
        else:
            taken[entry.outcome.case.id] = entry
    return Adoption(
        entries=taken,
        starts=contents.starts,
        left_out=Counter(reason for case, reason in left_out.items() if case not in taken),
        damaged=tuple(told(contents.damaged)),
    )


def _why_not(
    entry: Entry | Tried, marks: Mapping[str, str], start: RunStart | None, whole: Callable[[Measurement], bool]
) -> str | None:
    if entry.fingerprint != fingerprint(marks):
        differing = [name for name, mark in marks.items() if start and start.marks.get(name) != mark]
        return f"of other {', '.join(differing or marks)}"
    if isinstance(entry.outcome, Failure):
        return TRIED_AGAIN
    return None if whole(entry.outcome) else FILES_GONE
