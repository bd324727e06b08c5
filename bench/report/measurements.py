"""measurements.csv: one row a case, measured or not, with units in its header; docs/measurements.md has the columns."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pandas as pd

from bench.core.records import Failure, to_json
from bench.report.frame import RECORDS, TEXTS, sorted_failures
from bench.report.load import Run
from bench.report.rows import IDENTITY, Row

MEASURED = "measured"
_FORMULA = re.compile(r"[=+\-@\t＝＋－＠]")
"""What makes a spreadsheet take a text for a formula, if it comes first (also as East Asian input methods write it)."""
_BREAK = re.compile(r"\r\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def measurements(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The rows of `tidy`, then the cases of ``runs`` that gave no measurement: outcome and message instead of numbers.

    Figures are columns of their own with their units, reasons and flags are JSON. Absent values are None or NaN.
    """
    measured = _flat(frame)
    measured.insert(len(IDENTITY), "outcome", MEASURED)
    measured.insert(len(IDENTITY) + 1, "message", None)
    columns = dict.fromkeys((*measured.columns, "row", "width", "repeats"))
    failed = pd.DataFrame(_failed(runs), columns=list(columns), dtype=object)
    return pd.concat([measured, failed], ignore_index=True)


def csv_of(table: pd.DataFrame) -> str:
    """CSV that a spreadsheet takes for text and numbers only, and whose numbers read back exactly.

    A text that would be a formula gets an apostrophe before it. Line breaks are ``\\n``; other control characters are
    replaced, since readers disagree on them.
    """
    return str(table.map(_cell).to_csv(index=False, lineterminator="\n"))


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    kept = frame.drop(columns=[*RECORDS, *TEXTS])
    figures = pd.DataFrame(
        [{f"figure: {name} [{item.unit}]": item.value for name, item in row.items()} for row in frame["figures"]],
        index=frame.index,
        dtype=object,
    )
    texts = {name: [json.dumps(to_json(value), sort_keys=True) for value in frame[name]] for name in TEXTS}
    return pd.concat([kept, figures[sorted(figures.columns)], pd.DataFrame(texts, index=frame.index)], axis=1)


def _failed(runs: Sequence[Run]) -> list[Row]:
    """Cases that ended alike in several processes are one row, which counts them as repeats."""
    rows: dict[tuple[object, ...], Row] = {}
    for identity, failure in sorted_failures(runs):
        key = (*identity.values(), failure.kind, failure.message)
        row = rows.setdefault(key, {**identity, **_outcome(failure), "repeats": 0})
        row["repeats"] += 1
    return list(rows.values())


def _outcome(failure: Failure) -> Row:
    case = failure.case
    return {
        "outcome": failure.kind,
        "message": failure.message,
        "row": case.row,
        "width": case.option("width"),
    }


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    plain = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _BREAK.sub("\n", value))
    return f"'{plain}" if _FORMULA.match(plain) else plain
