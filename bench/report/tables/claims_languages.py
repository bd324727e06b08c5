"""What the notes claim of quantisation, and whether it holds of language models that decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.cells import ratio_range
from bench.report.contents import SHORT, identity_cells
from bench.report.language_lines import COMPARABLE, FP32, LanguageGroup, over
from bench.report.markdown import ABSENT, table
from bench.report.rows import PLACE, Row, Side, figure, grouped, hardly_converted, is_meaningless
from bench.report.tables.claims_classifiers import FAMILIES, WORDS, in_use_words
from bench.report.verdicts import Verdict, by_sides, holds_in, unjudged

BF16 = "bf16"
TEXT = """\
**Language models**, decoding. Claim 1 goes by the bytes of the weights and by what is in use in a step; claim 2 by the
median time between two tokens in the same mode, by intervals that do not overlap and, where one process measured a row,
are 10 % apart besides (on a CPU a factor of 2). What is not quantised of these models is in bfloat16: what that gains
alone is told beside, as is the row against bf16. Claim 3 is judged by classifiers alone."""
SMALLER, FASTER = "1: smaller", "2: runs faster"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times faster than its baseline a row is, and whether that shows."""

    value: float
    side: Side


def part(groups: Sequence[LanguageGroup]) -> list[str]:
    """Blocks of Markdown; none where no language model was measured."""
    if not groups:
        return []
    telling = [group for group in groups if not is_meaningless(group.first)]
    if not telling:
        return ["Cannot be judged by language models: the smoke budget's figures mean nothing."]
    if not any(group.of("decode") for group in telling):
        return ["Cannot be judged by language models: no decoding was measured."]
    firsts = [group.first for group in telling]
    shown = ["model", *(name for name in PLACE if len({first[name] for first in firsts}) > 1)]
    cells = [line for group in telling for line in _lines(group, shown)]
    return [TEXT, table(cells, left=("model", *WORDS, *(SHORT.get(name, name) for name in shown)))]


def _lines(group: LanguageGroup, shown: Sequence[str]) -> list[dict[str, str]]:
    return [
        {
            **identity_cells(group.first, shown),
            "claim": claim,
            "weights": f"{bits} bit",
            "batch": batch,
            "verdict": verdict.words,
            "what the rows show": verdict.rows,
        }
        for claim in (SMALLER, FASTER)
        for bits in FAMILIES
        for batch, verdict in _verdicts(group, claim, bits)
    ]


def _verdicts(group: LanguageGroup, claim: str, bits: int) -> list[tuple[str, Verdict]]:
    named = [row for row in group.of("decode") if figure(row, "weight_bits") == bits]
    rows = [row for row in named if not hardly_converted(row)]
    if not rows:
        hardly = f"every row with {bits}-bit weights has hardly converted anything"
        return [(ABSENT, unjudged(hardly if named else f"no row with {bits}-bit weights was measured"))]
    if claim == SMALLER:
        return [(ABSENT, _smaller(rows))]
    sizes = grouped(rows, ("batch size",))
    return [(str(size), _faster(group, some)) for (size,), some in sizes.items()]


def _smaller(rows: Sequence[Row]) -> Verdict:
    """Each precision counts once: its bytes are the same in every mode."""
    stored = [members[0]["weights over fp32 [1]"] for members in grouped(rows, ("precision",)).values()]
    ratios = [ratio for ratio in stored if ratio is not None]
    if not ratios:
        return unjudged("no fp32 weights to compare with")
    words, used = in_use_words(rows)
    verdict = holds_in(sum(ratio < 1 for ratio in ratios), len(ratios))
    count = "1 precision" if len(ratios) == 1 else f"{len(ratios)} precisions"
    shown = f"weights {ratio_range([100 * ratio for ratio in ratios], 1)} % of fp32's in {count}"
    return Verdict(words=f"stored weights: {verdict}{words}", rows=shown + used)


def _faster(group: LanguageGroup, rows: Sequence[Row]) -> Verdict:
    """Against fp32; beside it against bf16, and what bf16 itself gains."""
    sixteen = [row for row in group.of("decode") if row["precision"] == BF16 and _alike(row, rows[0])]
    found = _ratios(group, rows, FP32)
    if not found:
        return unjudged("no row of fp32 in the same mode to compare with")
    told = [f"against fp32 {_counts(found)}"]
    told += [f"against bf16 {_counts(some)}" for some in [_ratios(group, rows, BF16)] if some]
    told += [f"bf16 against fp32 {_counts(some)}" for some in [_ratios(group, sixteen, FP32)] if some]
    few, level = "too few samples for an interval", "no row can be told apart from fp32"
    return by_sides([one.side for one in found], "; ".join(told), unknown=few, across=level)


def _alike(row: Row, other: Row) -> bool:
    return bool(row["batch size"] == other["batch size"])


def _ratios(group: LanguageGroup, rows: Sequence[Row], precision: str) -> list[Ratio]:
    """Of each row that has a baseline of that precision in its mode, with the same prompts."""
    shared = (*COMPARABLE, "mode")
    baselines = {
        tuple(row[name] for name in shared): row for row in group.of("decode") if row["precision"] == precision
    }
    pairs = [(row, baselines.get(tuple(row[name] for name in shared))) for row in rows]
    found = [over(row, baseline) for row, baseline in pairs if baseline is not None]
    return [Ratio(value=ratio.value, side=side) for ratio, side in found]


SIDES: dict[Side, str] = {
    "above": "faster",
    "below": "slower",
    "across": "not told apart",
    "unknown": "too few samples to tell",
}


def _counts(found: Sequence[Ratio]) -> str:
    by_side = {side: [one.value for one in found if one.side == side] for side in SIDES}
    return ", ".join(f"{SIDES[side]} in {len(some)} ({ratio_range(some)} ×)" for side, some in by_side.items() if some)
