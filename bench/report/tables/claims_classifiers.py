"""What the notes claim of quantisation, and whether it holds of classifiers on each machine: computed from the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.report.ceiling_use import SHARE, USE, with_use
from bench.report.cells import flag_cell, ratio_range, sides
from bench.report.contents import SHORT, identity_cells
from bench.report.markdown import ABSENT, bullets, escape, points, table
from bench.report.pairs import AGREEMENT
from bench.report.rows import (
    HARDLY,
    IDENTITY,
    PLACE,
    SPEED,
    Row,
    figure,
    grouped,
    hardly_converted,
    is_meaningless,
    side_of_one,
    throughput,
)
from bench.report.statistics import Difference
from bench.report.verdicts import Verdict, by_sides, holds_in, unjudged

FAMILIES = (8, 4)
"""Bits of a stored weight: the families that are judged apart."""
MOSTLY = 0.5
"""Share of FLOPs from which on a row's speed is that of its number format."""
BEYOND = 2
"""Paired standard errors beyond which a change of accuracy is counted."""
Judge = Callable[[Sequence[Row]], Verdict]
IN_USE = "steady peak over fp32 same mode [1]"
WORDS = ("claim", "weights", "verdict", "what the rows show")
"""Columns of words."""
NETWORK = tuple(name for name in IDENTITY if name not in ("mode", "batch size"))
"""What rows share that hold the same weights."""
NO_BASELINE = "no row of fp32 in the same mode to compare with"
TEXT = f"""\
**Classifiers**, by the bits of a stored weight; rows that hardly converted anything are left out. Claim 1 goes by the
bytes of the weights, and beside them by what is in use in a step, weights included. Claims 2 and 3 go by intervals
that do not overlap, of rows measured in one process 10 % apart besides, against fp32 in the same mode at the same
batch size. Claim 2 is judged by rows that compute less: {100 * HARDLY:.0f} % of their FLOPs or more are multiplied in
low precision. Claim 3 is judged by rows in which {100 * MOSTLY:.0f} % or more are multiplied in int8: by the share that
they reach of the int8 products that this machine was measured to do (of float32's, where it does no more in int8), over
the share that fp32 reaches of float32's. An operation on integers counts like one in floating point."""


def part(rows: Sequence[Row]) -> list[str]:
    """Blocks of Markdown on the inference ``rows``; none where no inference was measured."""
    if not rows:
        return []
    telling = [row for row in rows if not is_meaningless(row)]
    if not _of_families(telling):
        return [f"Cannot be judged by classifiers: {_why_none(telling, FAMILIES)}."]
    places = grouped(telling, PLACE)
    shown = [name for name in PLACE if len({members[0][name] for members in places.values()}) > 1]
    cells = [line for members in places.values() for line in _lines(with_use(members), shown)]
    quality = [line for members in places.values() for line in _quality(members, shown)]
    return [TEXT, table(cells, left=(*WORDS, *(SHORT.get(name, name) for name in shown))), bullets(quality)]


def _why_none(rows: Sequence[Row], families: Sequence[int]) -> str:
    if not rows:
        return "the smoke budget's figures mean nothing"
    which = " or ".join(f"{bits}-bit" for bits in families)
    named = [row for row in rows if figure(row, "weight_bits") in families]
    if not named:
        return f"no row with {which} weights was measured"
    if all(hardly_converted(row) for row in named):
        return f"every row with {which} weights has hardly converted anything"
    return f"rows with {which} weights hold the rest of the network in 16 bits"


def _of_families(rows: Sequence[Row]) -> list[Row]:
    """Without rows that also move the rest of the network to 16 bits: what these gain is not of the weights alone."""
    return [
        row
        for row in rows
        if figure(row, "weight_bits") in FAMILIES and figure(row, "activation_bits") != 16 and not hardly_converted(row)
    ]


def _family(rows: Sequence[Row], bits: int) -> list[Row]:
    return [row for row in _of_families(rows) if figure(row, "weight_bits") == bits]


def _lines(rows: Sequence[Row], shown: Sequence[str]) -> list[dict[str, str]]:
    """One line for each claim, family and, where it matters, batch size; ``rows`` are of one place."""
    return [
        {
            **identity_cells(rows[0], shown),
            "claim": claim,
            "weights": f"{bits} bit",
            "batch": batch,
            "verdict": verdict.words,
            "what the rows show": verdict.rows,
        }
        for claim, judge in CLAIMS.items()
        for bits in FAMILIES
        for batch, verdict in _verdicts(judge, rows, bits)
    ]


def _verdicts(judge: Judge, rows: Sequence[Row], bits: int) -> list[tuple[str, Verdict]]:
    """By batch size; bytes stored are the same in all of them, and what cannot be judged is told once."""
    members = _family(rows, bits)
    if not members:
        return [(ABSENT, unjudged(_why_none(rows, (bits,))))]
    if judge is smaller:
        return [(ABSENT, judge(members))]
    verdicts = [(str(size), judge(some)) for (size,), some in grouped(members, ("batch size",)).items()]
    alike = len(verdicts) > 1 and len({verdict for _, verdict in verdicts}) == 1
    return [(ABSENT, verdicts[0][1])] if alike else verdicts


def smaller(rows: Sequence[Row]) -> Verdict:
    """Bytes are exact: no interval is needed. They depend on neither mode nor batch size, and count once."""
    stored = [members[0]["weights over fp32 [1]"] for members in grouped(rows, NETWORK).values()]
    ratios = [ratio for ratio in stored if ratio is not None]
    if not ratios:
        return unjudged("no fp32 weights to compare with")
    what = "1 network" if len(ratios) == 1 else f"{len(ratios)} networks and precisions"
    shown = f"weights {ratio_range([100 * ratio for ratio in ratios], 1)} % of fp32's in {what}"
    words, used = in_use_words(rows)
    return Verdict(
        words=f"stored weights: {holds_in(sum(ratio < 1 for ratio in ratios), len(ratios))}{words}", rows=shown + used
    )


def in_use_words(rows: Sequence[Row]) -> tuple[str, str]:
    """Of weights and steady peak together, against fp32 in the same mode: for the verdict, and by batch size."""
    known = [row for row in rows if row[IN_USE] is not None]
    if not known:
        return "", ""
    lower = sum(row[IN_USE] < 1 for row in known)
    told = [
        f"{sum(row[IN_USE] < 1 for row in some)} of {len(some)} at batch {size} "
        f"({ratio_range([row[IN_USE] for row in some])} of fp32's)"
        for (size,), some in grouped(known, ("batch size",)).items()
    ]
    return f"; memory in use: lower in {lower} of {_rows(len(known))}", f"; in use lower in {', '.join(told)}"


def faster(rows: Sequence[Row]) -> Verdict:
    """Latency of the rows that do less arithmetic; what the others do is shown beside it."""
    pairs = [row for row in rows if row[f"{SPEED} [1]"] is not None]
    if not pairs:
        return unjudged(NO_BASELINE)
    less = [row for row in pairs if (row["converted FLOPs [1]"] or 0) >= HARDLY]
    others = [row for row in pairs if row["converted FLOPs [1]"] is not None and row not in less]
    words = ("faster", "slower")
    shown = f"of {_rows(len(others))} computing nothing less {sides(others, SPEED, words)}" if others else ""
    if not less:
        return unjudged("no row computes less", shown or ABSENT)
    return _by_intervals(less, SPEED, words, f"; {shown}" if shown else "")


def better_used(rows: Sequence[Row]) -> Verdict:
    """Shares of two ceilings, that of int8 products and that of float32's, of rows that multiply mostly in int8."""
    integer = [row for row in rows if flag_cell(row, "compute") == "int8"]
    judged = [row for row in integer if (row["converted FLOPs [1]"] or 0) >= MOSTLY]
    if not judged:
        return unjudged(f"no row multiplies {100 * MOSTLY:.0f} % of its FLOPs or more in int8")
    rates = [rate for row in judged if (rate := _operations(row)) is not None]
    shown = f"{ratio_range([rate / 1e9 for rate in rates], 1)} × 10^9 operations per second" if rates else ABSENT
    shares = [row[SHARE] for row in judged if row[SHARE] is not None]
    if not shares:
        return unjudged("no ceilings were measured", shown)
    pairs = [row for row in judged if row[f"{USE} [1]"] is not None]
    reached = f"; int8 reaches {ratio_range([100 * share for share in shares], 1)} % of its ceiling; {shown}"
    return _by_intervals(pairs, USE, ("higher", "lower"), reached)


CLAIMS: dict[str, Judge] = {
    "1: smaller": smaller,
    "2: computes less, so runs faster": faster,
    "3: integers use the hardware better": better_used,
}
"""The claims in the notes' order. Each is judged by rows of one family, measured in one place."""


def _by_intervals(pairs: Sequence[Row], ratio: str, words: tuple[str, str], shown: str) -> Verdict:
    if not pairs:
        return unjudged(NO_BASELINE)
    found = [side_of_one(row, ratio) for row in pairs]
    rows = sides(pairs, ratio, words) + shown
    few, level = "too few samples for an interval", "no row can be told apart from fp32"
    return by_sides(found, rows, unknown=few, across=level)


def _operations(row: Row) -> float | None:
    """Per second."""
    each, rate = figure(row, "flops_per_image"), throughput(row)
    return None if each is None or rate is None else each * rate.value


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _quality(rows: Sequence[Row], shown: Sequence[str]) -> list[str]:
    """How often accuracy changed. Every batch size has the same predictions, which count once."""
    where = "".join(f", {SHORT.get(name, name)} {escape(str(rows[0][name]))}" for name in shown)
    names = [name for name in IDENTITY if name != "batch size"]
    lines = []
    for bits in FAMILIES:
        judged = [row for row in _family(rows, bits) if row[AGREEMENT[0]] is not None]
        changes = [_change(members[0]) for members in grouped(judged, names).values()]
        if changes:
            lines.append(f"Accuracy with {bits}-bit weights{where}: {_changes(changes)}.")
    return lines


def _change(row: Row) -> Difference:
    return Difference(value=row[AGREEMENT[2]], standard_error=row[AGREEMENT[3]])


def _changes(changes: Sequence[Difference]) -> str:
    """Counts, and the worst loss beyond what its standard error explains."""
    beyond = [change for change in changes if change.beyond(BEYOND)]
    lost = [change for change in beyond if change.value < 0]
    told = (
        f"beyond {BEYOND} paired standard errors of fp32's in {len(beyond)} of {len(changes)} comparisons, each of one "
        "network, precision and mode (chance alone gives one in twenty)"
    )
    if not lost:
        return f"{told}{', none of them a loss' if beyond else ''}"
    worst = min(lost, key=lambda change: change.value)
    return f"{told}, in {len(lost)} of them a loss, at worst {points(worst.value, worst.standard_error)} points"
