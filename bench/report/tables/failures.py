"""What gave no measurement, with its reason: never a pass, never silence."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.records import Failure
from bench.report.contents import SHORT, Contents, identity_cells, varying
from bench.report.frame import sorted_failures
from bench.report.markdown import ABSENT, shortened, table
from bench.report.rows import Row

TITLES = {
    "error": "an exception",
    "out_of_memory": "out of memory",
    "timed_out": "out of time",
    "crashed": "its process died",
    "unsupported": "unsupported here",
}
_LISTED = ("model", "recipe", "batch size", "seed", "image size [px]")
"""Cases that differ only in these, and fail with the same words, share a row, which lists them."""
_NAMED = ("experiment", "dataset", "machine", "precision", "mode")
_WHERE_ALIKE = ("dataset", "machine", "seed", "image size [px]")
"""Left out where all cases of a table have the same of it, so that the table can be read."""
WORDS = (
    *("what", "experiment", "model", "recipe", "precision", "mode", "pipeline", "options", "data set", "machine"),
    "reason",
)
_LISTED_UNSUPPORTED = (*_LISTED, "mode", "options")
"""The same for what cannot run: nobody has to find out which of the cases it was."""


def section(contents: Contents) -> str:
    pairs = sorted_failures(contents.runs)
    if not pairs:
        return "## Failures and unsupported cases\n\nNone: every case gave a measurement."
    failed = [pair for pair in pairs if pair[1].kind != "unsupported"]
    unsupported = [pair for pair in pairs if pair[1].kind == "unsupported"]
    parts = ["## Failures and unsupported cases"]
    if failed:
        parts += [f"**{_cases(len(failed))} failed.** Whole logs lie under `results/logs`.", _table(failed, _LISTED)]
    if unsupported:
        parts += [
            f"**{_cases(len(unsupported))} cannot run here.** This is no fault; the reason is given.",
            _table(unsupported, _LISTED_UNSUPPORTED),
        ]
    return "\n\n".join(parts)


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _table(pairs: Sequence[tuple[Row, Failure]], listed: Sequence[str]) -> str:
    groups: dict[tuple[str, ...], list[tuple[Row, Failure]]] = {}
    for row, failure in pairs:
        same = (value for name, value in row.items() if name not in listed)
        groups.setdefault((failure.kind, failure.message, *map(str, same)), []).append((row, failure))
    firsts = [group[0][0] for group in groups.values()]
    alike = [name for name in _WHERE_ALIKE if len({row[name] for row, _ in pairs}) == 1]
    shown = [name for name in (*_NAMED, *listed) if name not in alike]
    apart = [name for name in varying(firsts, (*_NAMED, *listed)) if name in ("pipeline", "options")]
    return table([_row(group, shown, listed, apart) for group in groups.values()], left=WORDS, keep=("reason",))


def _row(
    group: Sequence[tuple[Row, Failure]], shown: Sequence[str], listed: Sequence[str], apart: Sequence[str]
) -> dict[str, str]:
    """One line; ``apart`` are columns without which it would look like another one."""
    row, failure = group[0]
    named = identity_cells(row, [name for name in shown if name not in listed])
    return {
        "what": TITLES[failure.kind],
        **named,
        **{SHORT.get(name, name): _values(group, name) for name in shown if name in listed},
        **identity_cells(row, apart),
        "cases": str(len(group)),
        "reason": shortened(failure.message) or "no reason given",
    }


def _values(group: Sequence[tuple[Row, Failure]], name: str) -> str:
    """What the cases have of ``name``, each once and in order; options only where the cases differ in them."""
    values = {row[name] for row, _ in group}
    if values == {None} or (name == "options" and len(values) == 1):
        return ABSENT
    known = sorted(value for value in values if value is not None)
    return ", ".join(map(str, (*known, *(["none"] if None in values else []))))
