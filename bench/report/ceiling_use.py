"""How well rows use the hardware: the share that each reaches of its number format's ceiling, beside that of fp32."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.pairs import FP32
from bench.report.rows import IDENTITY, SPEED, Row

USE = "share of ceiling over fp32 same mode"
"""The ratio of two shares, of the ceilings of two number formats."""
SHARE = "share of arithmetic [1]"


def with_use(rows: Sequence[Row]) -> list[Row]:
    """Copies of ``rows`` with that ratio and its ends; None where a share is not known.

    Both rows do the same operations, so that the ratio is the speed-up times the one of the ceilings. These count as
    exact: what they leave open is not in the interval.
    """
    others = [name for name in IDENTITY if name != "precision"]
    shares = {tuple(row[name] for name in others): row[SHARE] for row in rows if row["precision"] == FP32}
    return [{**row, **_use(row, shares.get(tuple(row[name] for name in others)))} for row in rows]


def _use(row: Row, baseline: float | None) -> Row:
    share, speed = row[SHARE], row[f"{SPEED} [1]"]
    known = share is not None and baseline and speed
    scale = share / baseline / speed if known else None
    ends = {end: row[f"{SPEED}{end} [1]"] for end in ("", " from", " to")}
    fewest = {**row["fewest processes"], USE: row["fewest processes"][SPEED]}
    uses = {f"{USE}{end} [1]": None if None in (scale, value) else scale * value for end, value in ends.items()}
    return {"fewest processes": fewest, **uses}
