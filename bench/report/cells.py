"""How the quantities of a row are written in a table's cell, and the marks that it carries."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.limits import bound_by
from bench.report.markdown import ABSENT, escape, number, percent, plus_minus, ranged, small_percent
from bench.report.rows import BASELINES, Row, Side, figure, hardly_converted, one_accuracy, side_of_one, throughput
from bench.report.statistics import Interval

HARDLY_CONVERTED = "hardly converted"
BASELINE = "baseline"
HOST_BOUND = "host-bound"
EXPANDED = "far from both limits: weights are expanded"


def marks(row: Row) -> list[str]:
    """What a reader must know before trusting the row."""
    found = [HARDLY_CONVERTED] if hardly_converted(row) else []
    if row["unstable"]:
        found.append(f"unstable: {row['unstable']}")
    if row["disturbed"]:
        found.append(row["disturbed"])
    if bound_by(row) == "neither":
        found.append(EXPANDED if _expands(row) else HOST_BOUND)
    if figure(row, "criterion_met") == 0:
        found.append("criterion not met")
    if row["repeats differ in"]:
        found.append(f"repeats differ in {row['repeats differ in']}")
    return found


def _expands(row: Row) -> bool:
    """Whether weights stored in few bits, not just a few of them, are multiplied in floating point."""
    bits, compute = figure(row, "weight_bits"), str(row["flags"].get("compute"))
    few_bits = bits is not None and bits < 16 and not hardly_converted(row)
    return few_bits and compute.startswith(("float", "bfloat"))


def limit_cell(row: Row) -> str:
    """The share of the limit that the row is nearer to, and which one that is; no word where memory alone is known."""
    share, arithmetic = row["share of limit [1]"], row["share of arithmetic [1]"]
    if share is None:
        return ABSENT
    which = "memory" if share == row["share of bandwidth [1]"] else "arithmetic"
    return small_percent(share) + (f" ({which})" if arithmetic is not None else "")


def variant(row: Row) -> str:
    """Network, precision and mode, as Markdown."""
    return escape(f"{row['model']} {row['precision']} {row['mode']}")


def with_error(row: Row, name: str, scale: float = 1.0) -> str:
    """A time of the frame with what its interval leaves open."""
    value, low, high = (row[f"{name}{end} [s]"] for end in ("", " from", " to"))
    error = None if None in (value, low, high) else Interval(low=low, high=high).error(value)
    return plus_minus(value, error, scale)


def throughput_cell(row: Row) -> str:
    found = throughput(row)
    if found is None:
        return ABSENT
    return plus_minus(found.value, found.interval.error(found.value) if found.interval else None)


def ratio_of(row: Row, name: str) -> str:
    """A ratio of the frame with both ends of its interval."""
    value, low, high = (row[f"{name}{end} [1]"] for end in ("", " from", " to"))
    return ranged(value, low, high)


def speed_up_cell(row: Row, baseline: str) -> str:
    """``baseline`` is ``same mode`` or ``eager``."""
    if row["precision"] == BASELINES[0] and (row["mode"] == BASELINES[1] or baseline == "same mode"):
        return BASELINE
    return ratio_of(row, f"speed-up over fp32 {baseline}")


def accuracy_cell(row: Row) -> str:
    share = one_accuracy(row)
    if share is not None:
        return percent(share, row["quality standard error [1]"])
    return "not trained" if "train" in row["absent"].get("quality", "").lower() else ABSENT


def flag_cell(row: Row, name: str) -> str:
    value = row["flags"].get(name)
    return ABSENT if value is None else str(value)


def scaled(value: float | None, factor: float) -> str:
    return number(None if value is None else value * factor)


def ratio_range(values: Sequence[float], digits: int = 2) -> str:
    """``1.21 to 2.57``, or one number where both ends read the same."""
    return " to ".join(dict.fromkeys((f"{min(values):.{digits}f}", f"{max(values):.{digits}f}")))


def sides(rows: Sequence[Row], ratio: str, words: tuple[str, str] = ("faster", "slower")) -> str:
    """In how many of the rows a ratio to fp32 is above 1, below it, or not told apart from it, by their intervals."""
    by_side: dict[Side, list[float]] = {}
    for row in rows:
        by_side.setdefault(side_of_one(row, ratio), []).append(row[f"{ratio} [1]"])
    named: tuple[tuple[Side, str], ...] = (("above", words[0]), ("below", words[1]))
    told = [
        f"{word} in {len(by_side[side])} ({ratio_range(by_side[side])} ×)" for side, word in named if side in by_side
    ]
    told += [f"not told apart in {len(by_side['across'])}"] if "across" in by_side else []
    told += [f"too few samples to tell in {len(by_side['unknown'])}"] if "unknown" in by_side else []
    return ", ".join(told)
