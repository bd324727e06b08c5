"""Which fields have no value, and why; and what the cases noted for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.report.contents import Contents
from bench.report.markdown import listing, table
from bench.report.rows import Row


def section(contents: Contents) -> str:
    chosen = contents.frame[["experiment", "model", "absent", "notes"]]
    rows = [dict(zip(chosen.columns, values, strict=True)) for values in chosen.itertuples(index=False, name=None)]
    totals = Counter(row["experiment"] for row in rows)
    reasons: dict[tuple[str, str, str], list[Row]] = {}
    notes: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for field, reason in row["absent"].items():
            reasons.setdefault((row["experiment"], field, reason), []).append(row)
        for note in row["notes"]:
            notes.setdefault((row["experiment"], note), []).append(row)
    parts = ["## What was not measured, and why"]
    parts.append(_reasons(reasons, totals) if reasons else "Nothing: every field of every row was measured.")
    if notes:
        parts += ["## Notes of the cases", _notes(notes, totals)]
    return "\n\n".join(parts)


def _reasons(reasons: dict[tuple[str, str, str], list[Row]], totals: Counter[str]) -> str:
    cells = [
        {"experiment": experiment, "field": field, "reason": reason, "rows": _which(rows, totals[experiment])}
        for (experiment, field, reason), rows in sorted(reasons.items(), key=lambda item: item[0])
    ]
    return table(cells, left=tuple(cells[0]))


def _notes(notes: dict[tuple[str, str], list[Row]], totals: Counter[str]) -> str:
    cells = [
        {"experiment": experiment, "note": note, "rows": _which(rows, totals[experiment])}
        for (experiment, note), rows in sorted(notes.items(), key=lambda item: item[0])
    ]
    return table(cells, left=tuple(cells[0]))


def _which(rows: Sequence[Row], total: int) -> str:
    if len(rows) == total:
        return f"all {total}"
    return f"{len(rows)} of {total}: {listing(list(dict.fromkeys(row['model'] for row in rows)))}"
