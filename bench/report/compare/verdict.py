"""A comparison in one line of Markdown."""

from __future__ import annotations

from bench.report.compare.comparison import Comparison
from bench.report.compare.outcome import ORDER, Outcome, count
from bench.report.markdown import escape, listing

UNTOLD: Outcome = "cannot tell"
PLURALS = {"exact quantity": "exact quantities", "quality": "qualities", "peak of memory": "peaks of memory"}


def verdict(comparison: Comparison) -> str:
    """What a reader, or a log, has to know first."""
    names = listing(list(dict.fromkeys(escape(item.name) for item in comparison.differences)))
    if comparison.refused:
        return f"**Not comparable: {names} not the same in both runs.** Nothing was compared (`--anyway` does)."
    despite = f"**Not comparable ({names} not the same), compared anyway.** " if comparison.differences else ""
    both = sum(pair.both is not None for pair in comparison.pairs)
    found = listing([_counted(number, name) for name, number in comparison.regressions.items()])
    judged = f"**Regression: {found}.**" if found else "**No regression found.**"
    return f"{despite}{judged} {_counted(both, 'case')} in both runs. {_times(comparison)}{_machine(comparison)}"


def _machine(comparison: Comparison) -> str:
    """What was measured to know the machine has to be the same in both runs, or no time tells of our code alone."""
    changed = comparison.machine_changes
    if not changed:
        return ""
    rows = f"{_counted(changed, 'row')} of noise and ceilings"
    return f" **The machine itself changed between the runs ({rows}): distrust every time.**"


def _times(comparison: Comparison) -> str:
    """Never silent of rows that nothing could be told of."""
    if not comparison.times:
        return "No times were compared."
    counts = [(outcome, count(comparison.times, outcome)) for outcome in ORDER]
    told = [f"{number} {outcome}" for outcome, number in counts if number and outcome != UNTOLD]
    untold = counts[ORDER.index(UNTOLD)][1]
    reasons = {item.obstacle for item in comparison.times if item.obstacle is not None}
    if untold:
        told.append(f"{untold} cannot be told" + (f" ({reasons.pop()})" if len(reasons) == 1 else ""))
    return f"Of {_counted(len(comparison.times), 'timed row')}: {listing(told)}."


def _counted(number: int, name: str) -> str:
    return f"{number} {name if number == 1 else PLURALS.get(name, name + 's')}"
