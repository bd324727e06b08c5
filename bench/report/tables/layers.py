"""Single layers: how much faster each precision is at each width and batch size, and where it begins to win."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import HARDLY_CONVERTED, ratio_of, ratio_range, sides
from bench.report.contents import Contents, common_line, identity_cells, place_words
from bench.report.markdown import ABSENT, escape, number, table
from bench.report.rows import (
    BASELINES,
    PLACE,
    SPEED,
    Row,
    figure,
    grouped,
    hardly_converted,
    is_meaningless,
    side_of_one,
)

PIVOT = (*PLACE, "model", "mode", "image size [px]")
"""What the layers of one table share."""
TEXT = """\
One layer alone, with as many outputs as inputs: *linear* by its features, *conv3x3* by its channels. Cells are the
speed-up over fp32 in the same mode at the same width and batch size, from the medians of single calls, with the
widest range that the two intervals allow. *Begins to win at* is the smallest batch size from which on the layer is
faster at every larger one measured, by intervals that do not overlap (and by 10 %, where one process measured it);
*only at* names the sizes where it is faster, but not at all larger ones. *Relative error* is the distance of the output
from fp32's over the length of fp32's, at its largest over the batch sizes, *share of limit* goes from its smallest to
its largest over them. Latencies and sizes are in
[measurements.csv](measurements.csv)."""
CROSSOVER_TEXT = "**Where each precision begins to win**: the batch size from which on it is faster, by width."
NEVER = "never here"
WORDS = ("precision", "mode", "machine", "code", "device", "budget")


def section(contents: Contents) -> str:
    rows = contents.layers
    if not rows:
        return ""
    parts = ["## Single layers", common_line(contents, rows, PLACE)]
    compared = [row for row in rows if row["precision"] != BASELINES[0] and row["width"] is not None]
    if not compared:
        return "\n\n".join(filter(None, (*parts, "Only fp32 was measured: there is nothing to hold against it.")))
    parts.append(TEXT)
    for members in grouped(compared, ("model",)).values():
        parts += _kind(contents, members)
    return "\n\n".join(filter(None, parts))


def begins_to_win(rows: Sequence[Row]) -> str:
    """From which batch size on one layer at one precision is faster than fp32, in words for a cell."""
    known = [row for row in rows if row[f"{SPEED} [1]"] is not None]
    if not known:
        return ABSENT
    if any(hardly_converted(row) for row in rows):
        return HARDLY_CONVERTED
    if all(side_of_one(row, SPEED) == "unknown" for row in known):
        return "too few samples"
    ordered = sorted(known, key=lambda row: int(row["batch size"]))
    wins = [row["batch size"] for row in ordered if side_of_one(row, SPEED) == "above"]
    others = [row["batch size"] for row in ordered if side_of_one(row, SPEED) != "above"]
    lasting = [size for size in wins if size > max(others, default=0)]
    if lasting:
        return str(lasting[0])
    return f"only at {', '.join(map(str, wins))}" if wins else NEVER


def _kind(contents: Contents, rows: Sequence[Row]) -> list[str]:
    """All tables of one kind of layer; ``rows`` are those that are held against fp32."""
    kind = rows[0]["model"]
    parts = []
    for members in grouped(rows, PIVOT).values():
        parts += [f"### {_heading(contents.layers, members[0])}", _pivot(members)]
    telling = [row for row in rows if not is_meaningless(row)]
    if telling:
        parts += [CROSSOVER_TEXT, _crossover(telling)]
    image = contents.picture("layers", kind, f"speed-up of {escape(kind)} by width")
    return [*parts, *((_shows(kind, telling), image) if image else ())]


def _shows(kind: str, rows: Sequence[Row]) -> str:
    """What the picture of these rows shows: who is ever faster, who always slower, by intervals."""
    words = []
    for members in grouped(rows, (*PLACE, "mode", "precision")).values():
        known = [row for row in members if row[f"{SPEED} [1]"] is not None and not hardly_converted(row)]
        told = sides(known, SPEED)
        where = [members[0]["precision"], members[0]["mode"], *place_words(rows, members[0])]
        words += [f"{escape(' '.join(where))} is {told}"] if told else []
    counted = f" Of the widths and batch sizes of the picture, {'; '.join(words)}." if words else ""
    return f"**Speed-up of {escape(kind)} by width.** Above the line at 1 the layer is faster than fp32.{counted}"


def _heading(rows: Sequence[Row], row: Row) -> str:
    side = row["image size [px]"]
    what = row["model"] if side == 1 else f"{row['model']} on {side}x{side}"
    return escape(", ".join((what, row["mode"], *place_words(rows, row))))


def _pivot(rows: Sequence[Row]) -> str:
    sizes = sorted({row["batch size"] for row in rows})
    layers = grouped(sorted(rows, key=lambda row: (str(row["precision"]), int(row["width"]))), ("precision", "width"))
    return table([_layer(members, sizes) for members in layers.values()], left=WORDS)


def _layer(rows: Sequence[Row], sizes: Sequence[int]) -> dict[str, str]:
    """One line: a precision at a width, over batch sizes."""
    by_size = {row["batch size"]: ratio_of(row, SPEED) for row in rows}
    shares = [row["share of limit [1]"] for row in rows if row["share of limit [1]"] is not None]
    errors = [error for row in rows if (error := figure(row, "relative_error")) is not None]
    return {
        "precision": rows[0]["precision"],
        "width": str(rows[0]["width"]),
        **{f"batch {size} [×] ↑": by_size.get(size, ABSENT) for size in sizes},
        "begins to win at": begins_to_win(rows),
        "relative error [%] ↓": number(100 * max(errors), 2) if errors else ABSENT,
        "share of limit [%] ↑": ratio_range([100 * share for share in shares], 1) if shares else ABSENT,
    }


def _crossover(rows: Sequence[Row]) -> str:
    widths = sorted({row["width"] for row in rows})
    shown = ["mode", *(name for name in PLACE if len({row[name] for row in rows}) > 1)]
    cells = []
    for members in grouped(rows, (*PLACE, "mode", "precision")).values():
        by_width = {some[0]["width"]: begins_to_win(some) for some in grouped(members, ("width",)).values()}
        cells.append(
            {
                "precision": members[0]["precision"],
                **identity_cells(members[0], shown),
                **{f"width {width}": by_width.get(width, ABSENT) for width in widths},
            }
        )
    return table(cells, left=WORDS)
