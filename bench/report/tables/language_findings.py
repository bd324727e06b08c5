"""What the rows of one language model show, in plain sentences: only what their intervals can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.cells import flag_cell, throughput_cell
from bench.report.language_lines import (
    FP32,
    ONE_CPU_PROCESS,
    LanguageGroup,
    LanguageLine,
    over,
    rates_over,
    wide_margin,
)
from bench.report.markdown import escape, listing, megabytes, ranged, small_percent
from bench.report.perplexity import Change
from bench.report.rows import ONE_PROCESS, Row, Side, figure, hardly_converted, is_meaningless, throughput
from bench.report.statistics import Estimate
from bench.report.tables.language_tables import change_words, perplexity_change

RIVALS = (FP32, "bf16")
"""What decoding is held against: in the mode of the row."""
FAR_FROM_LIMIT = 0.2
"""Share of the memory-bandwidth limit below which reading weights cannot be what takes the time."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A row beside fp32 or bf16 in its own mode."""

    line: LanguageLine
    row: Row
    baseline: Row
    ratio: Estimate
    side: Side


def sentences(group: LanguageGroup) -> list[str]:
    """Markdown. Each one ends with the caveats of the model, if it has any."""
    if is_meaningless(group.first):
        return []
    decoding, prefill = (_timed(group, experiment) for experiment in ("decode", "prefill"))
    compared = {name: _rivals(decoding, name) for name in RIVALS}
    lines = [*_margin(compared), *_fastest(decoding)]
    lines += [line for name in RIVALS for line in _against(name, compared[name])]
    lines += [*_slow(compared), *_first_token(prefill), *_smallest(group), *_perplexity(group)]
    return [f"{line}." for line in lines]


def _timed(group: LanguageGroup, experiment: str) -> list[tuple[LanguageLine, Row]]:
    """The rows of the headline setting: the same prompts, batch and new tokens."""
    headline = group.headline(experiment)
    pairs = [(line, row) for line in group.lines if (row := line.at(experiment, headline)) is not None]
    return [(line, row) for line, row in pairs if not hardly_converted(row)]


def _margin(compared: dict[str, list[Rival]]) -> list[str]:
    """Why ratios whose intervals lie beside 1 are not told apart all the same, with the largest gain as an example."""
    rivals = [(name, rival) for name in RIVALS for rival in compared[name]]
    held = [(name, rival) for name, rival in rivals if rival.side == "across" and _beside_one(rival)]
    if not held:
        return []
    name, rival = max(held, key=lambda pair: pair[1].ratio.value)
    ends = rival.ratio.interval
    ratio = ranged(rival.ratio.value, *((ends.low, ends.high) if ends else (None, None)))
    return [
        "Two processes of the same case were seen to differ by a factor of 1.9 in decoding on a CPU: rows that one "
        f"process measured count as faster or slower from a factor of {ONE_CPU_PROCESS:g} on, so that even "
        f"{escape(rival.line.name)} over {escape(name)}, {ratio} times, is not told apart. "
        "With `--repeats 6` the intervals over processes decide"
    ]


def _beside_one(rival: Rival) -> bool:
    """Whether the interval would tell the two apart, and the margin of one process on a CPU alone does not."""
    ends = rival.ratio.interval
    beside = ends is not None and (ends.low > ONE_PROCESS or ends.high < 1 / ONE_PROCESS)
    return beside and wide_margin(rival.row, rival.baseline)


def _fastest(decoding: Sequence[tuple[LanguageLine, Row]]) -> list[str]:
    """The most tokens a second, where at least one other row is clearly slower; those level with it."""
    rated = [(line, row, found.value) for line, row in decoding if (found := throughput(row)) is not None]
    if len(rated) < 2:
        return []
    line, best, _ = max(rated, key=lambda entry: entry[2])
    others = [(other, rates_over(row, best)) for other, row, _ in rated if row is not best]
    level = [escape(other.name) for other, found in others if found is None or found[1] != "below"]
    ahead = len(others) - len(level)
    if not ahead:
        return []
    tied = f"; not told apart from {listing(level, most=len(level))}" if level else ""
    rate = f" with {throughput_cell(best)} tokens/s"
    return [f"Decodes fastest: {escape(line.name)}{rate}, ahead of {ahead} of {len(others)} other rows{tied}"]


def _first_token(prefill: Sequence[tuple[LanguageLine, Row]]) -> list[str]:
    """How many times as long as fp32's first token that of each other row takes, in fp32's mode."""
    rivals = [rival for rival in _rivals(prefill, FP32) if rival.line.precision != FP32]
    lines = []
    for mode in dict.fromkeys(rival.line.mode for rival in rivals):
        some = [rival for rival in rivals if rival.line.mode == mode]
        told = [
            f"{word}: {listing([_taking(rival) for rival in some if rival.side == side], most=len(some))}"
            for side, word in FIRST_TOKENS.items()
            if any(rival.side == side for rival in some)
        ]
        lines.append(f"First token, in times of what {FP32} {escape(mode)} takes: {'; '.join(told)}")
    return lines


def _taking(rival: Rival) -> str:
    return f"{escape(rival.line.precision)} ({1 / rival.ratio.value:.2f} ×)"


def _rivals(decoding: Sequence[tuple[LanguageLine, Row]], precision: str) -> list[Rival]:
    """Every row beside ``precision`` in the same mode, fastest first."""
    baselines = {line.mode: row for line, row in decoding if line.precision == precision}
    found = []
    for line, row in decoding:
        baseline = baselines.get(line.mode)
        if baseline is not None and baseline is not row:
            ratio, side = over(row, baseline)
            found.append(Rival(line=line, row=row, baseline=baseline, ratio=ratio, side=side))
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
FIRST_TOKENS: dict[Side, str] = {
    "above": "sooner",
    "below": "later",
    "across": "not told apart",
    "unknown": "by the medians of too few samples for an interval",
}


def _rated(rival: Rival, side: Side) -> str:
    shown = f" ({rival.ratio.value:.2f} ×)" if side in ("above", "below") else ""
    return f"{escape(rival.line.precision)}{shown}"


def _slow(compared: dict[str, list[Rival]]) -> list[str]:
    """Why rows are slower than fp32 or bf16, where the rows tell; rows with the same reason together."""
    against: dict[str, list[str]] = {}
    rows: dict[str, Row] = {}
    for precision, rivals in compared.items():
        for rival in (rival for rival in rivals if rival.side == "below" and rival.line.precision != FP32):
            against.setdefault(rival.line.name, []).append(escape(precision))
            rows[rival.line.name] = rival.row
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, row in rows.items():
        alike.setdefault(_reason(row), []).append(name)
    found = [(names, reasons([rows[name] for name in names])) for names in alike.values()]
    return [f"{_slower(names, against)}: {why}" for names, why in found if why]


def _reason(row: Row) -> tuple[object, ...]:
    """What rows share that are slow for the same reason: the kernels that they lack, else how they multiply."""
    kernels, share = row["flags"].get("bitsandbytes_cpu_kernels"), row["share of bandwidth [1]"]
    return kernels or _multiplied([row]), share is None, share is not None and share < FAR_FROM_LIMIT


def _slower(names: Sequence[str], against: dict[str, list[str]]) -> str:
    """Who is slower than what."""
    verb = "is" if len(names) == 1 else "are"
    if len({tuple(against[name]) for name in names}) == 1:
        return f"{escape(listing(names, most=len(names)))} {verb} slower than {listing(against[names[0]])}"
    each = [f"{escape(name)} (than {listing(against[name])})" for name in names]
    return f"{listing(each, most=len(each))} {verb} slower"


def reasons(rows: Sequence[Row]) -> str:
    """What rows of one reason tell of what takes their time, as Markdown; empty if they tell nothing."""
    kernels, shares = rows[0]["flags"].get("bitsandbytes_cpu_kernels"), [row["share of bandwidth [1]"] for row in rows]
    told = [_multiplied(rows)]
    told += [f"bitsandbytes' kernels for this CPU: {escape(str(kernels))}"] if kernels else []
    told += [_of_limit([share for share in shares if share is not None])] if None not in shares else []
    return "; ".join(filter(None, told))


def _multiplied(rows: Sequence[Row]) -> str:
    """In what weights of few bits are multiplied; empty where they are not stored in few bits."""
    bits = {figure(row, "weight_bits") or 32 for row in rows}
    computes = sorted({flag_cell(row, "compute") for row in rows})
    if max(bits) >= 16 or not all(compute.startswith(("float", "bfloat")) for compute in computes):
        return ""
    whose, stored = "its" if len(rows) == 1 else "their", listing([f"{each:.0f}-bit" for each in sorted(bits)])
    return f"{whose} {stored} weights are multiplied in {escape(listing(computes))}"


def _of_limit(shares: Sequence[float]) -> str:
    ends = dict.fromkeys((small_percent(min(shares)), small_percent(max(shares))))
    who = "it reaches" if len(shares) == 1 else "they reach"
    reached = f"{who} {' to '.join(ends)} % of the memory-bandwidth limit"
    if max(shares) >= FAR_FROM_LIMIT:
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
