"""Sections about cases as such: which came, went or failed, and which were given other settings."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.compare.matching import Entry, Pair
from bench.report.compare.transitions import Transition
from bench.report.contents import identity_cells, varying
from bench.report.markdown import ABSENT, shortened, table

CASE = ("experiment", "model", "precision", "mode", "batch size")
WORDS = ("experiment", "model", "precision", "mode", "recipe", "data set", "device", "budget", "pipeline", "options")
"""Columns of words that say which case a row of a table is about."""


def named(pairs: Sequence[Pair]) -> list[dict[str, str]]:
    """Cells that say which case each is: those of ``CASE`` and what else tells some of them apart."""
    rows = [pair.identity for pair in pairs]
    columns = (*CASE, *varying(rows, CASE))
    return [identity_cells(row, columns) for row in rows]


def transitions_section(found: Sequence[Transition]) -> str:
    if not found:
        return "## Cases\n\nBoth runs have the same cases, and the same of them failed."
    cells = [
        {"what": item.change, **case, "OLD": _state(item.pair.old), "NEW": _state(item.pair.new)}
        for item, case in zip(found, named([item.pair for item in found]), strict=True)
    ]
    told = "*Newly failing* is a regression. *Vanished* and *new* are not: cases may have been left out on purpose."
    return f"## Cases\n\n{told}\n\n{table(cells, left=('what', *WORDS, 'OLD', 'NEW'))}"


def settings_section(pairs: Sequence[Pair]) -> str:
    """Options that two matched cases do not share; empty where there are none."""
    found = [(pair, *pair.both) for pair in pairs if pair.both and pair.both[0].settings != pair.both[1].settings]
    if not found:
        return ""
    cells = [
        {**case, "OLD": _only(old, new), "NEW": _only(new, old)}
        for (_, old, new), case in zip(found, named([pair for pair, _, _ in found]), strict=True)
    ]
    columns = ("OLD", "NEW")
    told = "Taken for the same cases all the same, since there was no other candidate."
    return f"## Settings that differ\n\n{told}\n\n{table(cells, left=(*WORDS, *columns), keep=columns)}"


def _state(entry: Entry | None) -> str:
    if entry is None:
        return ABSENT
    measured = [f"{len(entry.measurements)} measured"] if entry.measurements else []
    reasons = dict.fromkeys(f"{item.kind.replace('_', ' ')}: {shortened(item.message)}" for item in entry.failures)
    return "; ".join((*measured, *reasons))


def _only(one: Entry, other: Entry) -> str:
    own = one.settings.items() - other.settings.items()
    return " ".join(f"{name}={value}" for name, value in sorted(own)) or ABSENT
