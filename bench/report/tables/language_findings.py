"""What the rows of one language model show, in plain sentences: only what their intervals can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.cells import flag_cell, throughput_cell
from bench.report.language_lines import FP32, LanguageGroup, LanguageLine, over
from bench.report.markdown import ABSENT, escape, listing, megabytes, small_percent
from bench.report.perplexity import Change
from bench.report.rows import Row, Side, figure, hardly_converted, is_meaningless
from bench.report.statistics import Estimate
from bench.report.tables.language_tables import change_words, perplexity_change

RIVALS = (FP32, "bf16")
"""What decoding is held against: in the mode of the row."""
FAR_FROM_LIMIT = 0.2
"""Share of the memory-bandwidth limit below which reading weights cannot be what takes the time."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A decoding row beside fp32 or bf16 in its own mode."""

    line: LanguageLine
    row: Row
    ratio: Estimate
    side: Side


def sentences(group: LanguageGroup) -> list[str]:
    """Markdown. Each one ends with the caveats of the model, if it has any."""
    if is_meaningless(group.first):
        return []
    decoding = _decoding(group)
    compared = {name: _rivals(decoding, name) for name in RIVALS}
    lines = [*_fastest(decoding), *(line for name in RIVALS for line in _against(name, compared[name]))]
    lines += [*_slow(compared), *_smallest(group), *_perplexity(group)]
    return [f"{line}{group.carried}." for line in lines]


def _decoding(group: LanguageGroup) -> list[tuple[LanguageLine, Row]]:
    """The decoding rows of the headline setting: the same prompts, batch and new tokens."""
    headline = group.headline("decode")
    pairs = [(line, row) for line in group.lines if (row := line.at("decode", headline)) is not None]
    return [(line, row) for line, row in pairs if not hardly_converted(row)]


def _fastest(decoding: Sequence[tuple[LanguageLine, Row]]) -> list[str]:
    """The shortest median time between tokens, where at least one other row is clearly slower; those level with it."""
    if len(decoding) < 2:
        return []
    line, best = min(decoding, key=lambda pair: float(pair[1]["median [s]"]))
    others = [(other, over(row, best)[1]) for other, row in decoding if row is not best]
    level = [escape(other.name) for other, side in others if side != "below"]
    ahead = len(others) - len(level)
    if not ahead:
        return []
    tied = f"; not told apart from {listing(level)}" if level else ""
    speed = throughput_cell(best)
    rate = "" if speed == ABSENT else f" with {speed} tokens/s"
    return [f"Decodes fastest: {escape(line.name)}{rate}, ahead of {ahead} of {len(others)} other rows{tied}"]


def _rivals(decoding: Sequence[tuple[LanguageLine, Row]], precision: str) -> list[Rival]:
    """Every row beside ``precision`` in the same mode, fastest first."""
    baselines = {line.mode: row for line, row in decoding if line.precision == precision}
    found = []
    for line, row in decoding:
        baseline = baselines.get(line.mode)
        if baseline is not None and baseline is not row:
            ratio, side = over(row, baseline)
            found.append(Rival(line=line, row=row, ratio=ratio, side=side))
    return sorted(found, key=lambda rival: -rival.ratio.value)


def _against(precision: str, rivals: Sequence[Rival]) -> list[str]:
    """Who is faster and who slower than ``precision``; fp32 itself does not stand against bf16 again."""
    lines = []
    for mode in dict.fromkeys(rival.line.mode for rival in rivals):
        some = [rival for rival in rivals if rival.line.mode == mode and rival.line.precision != FP32]
        told = [
            f"{word}: {listing([_rated(rival, side) for rival in some if rival.side == side], most=len(some))}"
            for side, word in SIDES.items()
            if any(rival.side == side for rival in some)
        ]
        if told:
            lines.append(f"Decoding against {escape(precision)} {escape(mode)}: {'; '.join(told)}")
    return lines


SIDES: dict[Side, str] = {
    "above": "faster",
    "below": "slower",
    "across": "not told apart",
    "unknown": "too few samples to tell",
}


def _rated(rival: Rival, side: Side) -> str:
    shown = f" ({rival.ratio.value:.2f} ×)" if side in ("above", "below") else ""
    return f"{escape(rival.line.precision)}{shown}"


def _slow(compared: dict[str, list[Rival]]) -> list[str]:
    """Why rows are slower than fp32 or bf16, where the rows tell."""
    against: dict[str, list[str]] = {}
    rows: dict[str, Row] = {}
    for precision, rivals in compared.items():
        for rival in (rival for rival in rivals if rival.side == "below" and rival.line.precision != FP32):
            against.setdefault(rival.line.name, []).append(precision)
            rows[rival.line.name] = rival.row
    return [
        f"{escape(name)} is slower than {listing([escape(precision) for precision in against[name]])}: {why}"
        for name, row in rows.items()
        if (why := reasons(row))
    ]


def reasons(row: Row) -> str:
    """What the row tells of what takes its time, as Markdown; empty if it tells nothing."""
    bits, compute = figure(row, "weight_bits"), row["flags"].get("compute")
    kernels, share = row["flags"].get("bitsandbytes_cpu_kernels"), row["share of bandwidth [1]"]
    told = []
    if bits is not None and bits < 16 and str(compute).startswith(("float", "bfloat")):
        told.append(f"its {bits:.0f}-bit weights are multiplied in {escape(flag_cell(row, 'compute'))}")
    if kernels:
        told.append(f"bitsandbytes' kernels for this CPU: {escape(str(kernels))}")
    if share is not None:
        told.append(_of_limit(share))
    return "; ".join(told)


def _of_limit(share: float) -> str:
    reached = f"it reaches {small_percent(share)} % of the memory-bandwidth limit"
    if share >= FAR_FROM_LIMIT:
        return reached
    others = "expanding them, the arithmetic or the host (starting each operation) is"
    return f"{reached}, so reading the stored weights is not what takes the time: {others}"


def _smallest(group: LanguageGroup) -> list[str]:
    """Exact, so the least needs no error. The same in every mode: a precision counts once."""
    sizes: dict[str, float] = {}
    for line in group.lines:
        size = line.known("weights [B]")
        if size is not None:
            sizes.setdefault(line.precision, size)
    if len(sizes) < 2:
        return []
    least = min(sizes.values())
    names = listing([escape(name) for name, size in sizes.items() if size == least])
    whole = sizes.get(FP32)
    share = f", {small_percent(least / whole)} % of fp32's" if whole and least != whole else ""
    return [f"Smallest weights: {names} with {megabytes(least)} MB{share}"]


def _perplexity(group: LanguageGroup) -> list[str]:
    """What each precision costs, worst first, where it shows; and where it does not."""
    pairs = [
        (line, found)
        for line in group.lines
        if (row := line.one("perplexity")) is not None and (found := perplexity_change(group, row)) is not None
    ]
    if not pairs:
        return []
    pairs.sort(key=lambda pair: -pair[1].ratio)
    shown = [f"{escape(line.name)} {change_words(found)} %" for line, found in pairs if found.shows]
    level = [escape(line.name) for line, found in pairs if not found.shows and found.standard_error is not None]
    told = [listing(shown, most=len(shown))] if shown else []
    told += [f"no change that shows: {listing(level, most=len(level))}"] if level else []
    windows = _windows([found for _, found in pairs])
    return [f"Perplexity against fp32, paired over {windows}: {'; '.join(told)}"] if told else []


def _windows(changes: Sequence[Change]) -> str:
    counts = sorted({change.windows for change in changes})
    return f"{' to '.join(dict.fromkeys((str(counts[0]), str(counts[-1]))))} windows"
