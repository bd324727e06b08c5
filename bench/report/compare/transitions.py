"""Cases that came, went, began to fail or ceased to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.compare.matching import Entry, Pair

Change = Literal["newly failing", "newly working", "failing otherwise", "vanished", "new"]
ORDER: tuple[Change, ...] = ("newly failing", "newly working", "failing otherwise", "vanished", "new")


@dataclass(frozen=True, kw_only=True)
class Transition:
    """``newly failing`` alone is a regression: what vanished may have been left out on purpose."""

    pair: Pair
    change: Change


def transitions(pairs: Sequence[Pair]) -> tuple[Transition, ...]:
    """One for each case that did not stay as it was, in the order of ``ORDER``."""
    found = [Transition(pair=pair, change=change) for pair in pairs if (change := _change(pair)) is not None]
    return tuple(sorted(found, key=lambda item: ORDER.index(item.change)))


def _change(pair: Pair) -> Change | None:
    if pair.old is None or pair.new is None:
        return "new" if pair.old is None else "vanished"
    if not pair.new.failures:
        return "newly working" if pair.old.failures else None
    if not pair.old.failures or _ran(pair.old) & {failure.case.repeat for failure in pair.new.failures}:
        return "newly failing"
    if pair.old.row is not None and pair.new.row is None:
        return "newly failing"
    return None if _kinds(pair.old) == _kinds(pair.new) else "failing otherwise"


def _ran(entry: Entry) -> set[int]:
    """Repeats that gave a measurement: one of them that fails now is a regression, whichever others failed before."""
    return {measurement.case.repeat for measurement in entry.measurements}


def _kinds(entry: Entry) -> set[str]:
    return {failure.kind for failure in entry.failures}
