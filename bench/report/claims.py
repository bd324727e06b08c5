"""Claims of the notes, judged by what was measured in one place: those that this run cannot judge are only named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.beside import Side, side_of
from bench.report.content import Content
from bench.report.formats import counted, number, ranged
from bench.report.learning import (
    ALL,
    HEAD,
    SCOPES,
    Question,
    ablations,
    loading_title,
    loadings,
    transfers,
    worker_pairs,
)
from bench.report.limits import arithmetic_limit
from bench.report.pairing import ONE_PROCESS
from bench.report.results import COMPILED, FP32, Result, grouped
from bench.report.seeds import Comparison, difference, training_groups

FAMILIES = (8, 4)
"""Bits of a stored weight: the families that are judged apart."""
LESS, MOSTLY = 0.05, 0.5
"""Shares of FLOPs from which on a result computes less, and from which on its speed is that of its number format."""
NEGLIGIBLE = 0.01
"""Difference of accuracy that counts as none where the whole interval lies within it."""
RESIDUAL, PLAIN = "note2_resnet_custom", "note2_cnn_vgg"
"""Recipes that note 2 compares: 30 epochs of a residual network, 100 of a CNN of VGG's form."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Verdict of the results on a claim of the notes."""

    claim: str
    about: str
    """Family of weights, or batch size, or what was compared."""
    verdict: str
    """*holds*, *does not hold*, *holds in n of m*, *no clear difference*."""
    shown: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    claims: tuple[Claim, ...]
    open: tuple[str, ...]
    """Claims that this run cannot judge."""


def judged_claims(content: Content) -> Judged:
    """Claims of quantisation, then of training."""
    claims: list[Claim] = []
    unjudged: list[str] = []
    for name, judge in CLAIMS.items():
        judged = judge(content, name)
        claims += judged
        unjudged += [] if judged else [name]
    return Judged(claims=tuple(claims), open=tuple(unjudged))


def _family(results: Sequence[Result], bits: int) -> list[Result]:
    """Results at ``bits``, except those that move the rest of the network to 16 bits: their gain has two causes."""
    return [
        one
        for one in results
        if one.figure("weight_bits") == bits
        and (one.figure("activation_bits") != 16 or one.case.experiment == "decode")
        and not one.hardly_converted
        and not one.meaningless
    ]


def smaller(content: Content, claim: str) -> list[Claim]:
    """Claims on bytes stored, which are exact, and on bytes in use in a step."""
    claims = []
    for kind, results in (("classifiers", content.of("inference")), ("language models", content.of("decode"))):
        for bits in FAMILIES:
            rows = [one for one in _family(results, bits) if one.beside.weights is not None]
            stored = grouped(rows, lambda one: (*one.network, one.case.runtime, one.case.precision)).values()
            ratios = [members[0].beside.weights or 0.0 for members in stored]
            if not ratios:
                continue
            in_use = [one.beside.memory for one in rows if one.beside.memory is not None]
            saving = sum(ratio < 1 for ratio in in_use)
            evidence = f"stored {ranged([100 * ratio for ratio in ratios])} % of fp32's"
            evidence += f"; in use lower in {saving} of {counted(len(in_use), 'row')}" if in_use else ""
            verdict = _holds(sum(ratio < 1 for ratio in ratios), len(ratios))
            claims.append(Claim(claim=claim, about=f"{bits}-bit {kind}", verdict=verdict, shown=evidence))
    return claims


def runs_faster(content: Content, claim: str) -> list[Claim]:
    """Latency beside PyTorch's fp32 in the same mode, of results that do less arithmetic; decoding of all."""
    found = []
    for bits in FAMILIES:
        rows = [one for one in _family(content.of("inference"), bits) if one.beside.same_mode is not None]
        less = [one for one in rows if (one.converted_flops or 0) >= LESS]
        for batch, members in sorted(grouped(less, lambda one: one.case.batch_size).items(), key=str):
            found.append(_faster(claim, f"{bits}-bit classifiers, batch {batch}", members))
        found += [_faster(claim, f"{bits}-bit language models", some) for some in [_decoding(content, bits)] if some]
    return found


def _decoding(content: Content, bits: int) -> list[Result]:
    return [one for one in _family(content.of("decode"), bits) if one.beside.same_mode is not None]


def _faster(claim: str, about: str, results: Sequence[Result]) -> Claim:
    sides = [one.beside.same_mode_side for one in results]
    ratios = [one.beside.same_mode for one in results if one.beside.same_mode is not None]
    clear = [side for side in sides if side in ("above", "below")]
    shown = f"{ranged(ratios)} × fp32 in the same mode, {counted(len(results), 'row')}, {len(clear)} of them clear"
    return Claim(claim=claim, about=about, verdict=_by_sides(sides), shown=shown)


def better_used(content: Content, claim: str) -> list[Claim]:
    """Share of the int8 ceiling that int8 results reach, beside the share of float32's that fp32 reaches."""
    ceilings = {one.place: one for one in content.of("ceilings")}
    rows = [
        one
        for one in content.of("inference")
        if one.first.flags.get("compute") == "int8" and (one.converted_flops or 0) >= MOSTLY and not one.meaningless
    ]
    baselines = {
        (*one.scene, one.case.mode): one
        for one in content.of("inference")
        if one.case.precision == FP32 and one.case.runtime == "torch"
    }
    pairs = [
        (one, baselines.get((*one.scene, one.case.mode if one.case.mode != "native" else COMPILED))) for one in rows
    ]
    uses = [
        one.limits.of_arithmetic / other.limits.of_arithmetic
        for one, other in pairs
        if other
        and one.limits.of_arithmetic
        and other.limits.of_arithmetic
        and arithmetic_limit(ceilings[one.place], "int8")
    ]
    if not uses:
        return []
    shown = f"{ranged(uses)} × the share that fp32 reaches of float32's ceiling"
    sides = [side_of(use, use, 1.0, ONE_PROCESS) for use in uses]
    return [Claim(claim=claim, about="int8 classifiers", verdict=_by_sides(sides), shown=shown)]


def architecture(content: Content, claim: str) -> list[Claim]:
    """Note 2's two trainings, to the end of both: a shortened one says nothing of epochs."""
    groups = [group for group in training_groups(content.of("training"), content.datasets) if not group.shortened]
    pairs = [
        (one, other)
        for one in groups
        for other in groups
        if (one.first.case.recipe, other.first.case.recipe) == (RESIDUAL, PLAIN)
        and one.first.dataset == other.first.dataset
    ]
    return _of(claim, [(f"on {one.first.dataset}", difference(one, other)) for one, other in pairs])


def frozen(content: Content, claim: str) -> list[Claim]:
    """The new head alone against all layers."""
    return _of(claim, [(_named(one), one.change(HEAD, ALL)) for one in _transfers(content)])


def shortens(content: Content, claim: str) -> list[Claim]:
    """Both ways to transfer against the training from scratch, in time."""
    times = [
        (f"{_named(one)}, {SCOPES[scope]}", one.time_over(scope))
        for one in _transfers(content)
        for scope in (HEAD, ALL)
    ]
    return _of(claim, times, turned=True)


def more_workers(content: Content, claim: str) -> list[Claim]:
    """Holds where some larger number of workers is slower than a smaller one."""
    found = []
    for members in loadings([one for one in content.of("loading") if not one.meaningless]):
        sides = [comparison.side for _, _, comparison in worker_pairs(members)]
        if not sides:
            continue
        slower, quicker = sides.count("below"), sides.count("above")
        verdict = "holds" if slower else "does not hold" if quicker == len(sides) else "no clear difference"
        shown = f"more workers slower in {slower}, faster in {quicker} of {counted(len(sides), 'pair')}"
        found.append(Claim(claim=claim, about=loading_title(members), verdict=verdict, shown=shown))
    return found


def helps(question: str, variants: Sequence[str], base: str) -> Callable[[Content, str], list[Claim]]:
    """True if each of ``variants`` is more accurate than ``base``."""

    def judge(content: Content, claim: str) -> list[Claim]:
        asked = [one for one in _ablations(content) if one.title == question]
        return _of(
            claim, [(f"{', '.join(one.models)} {name}", one.change(name, base)) for one in asked for name in variants]
        )

    return judge


def no_difference(content: Content, claim: str) -> list[Claim]:
    """Dropout before the activation less dropout after it: equivalence asks for a narrow interval around 0."""
    found = []
    for one in _ablations(content):
        change = one.change("before activation", "after activation") if one.title == "dropout" else None
        if change is None:
            continue
        ends = change.estimate.interval
        within = ends is not None and max(-ends.low, ends.high) <= NEGLIGIBLE
        verdict = "holds" if within else "does not hold" if change.side in ("above", "below") else "no clear difference"
        found.append(Claim(claim=claim, about=", ".join(one.models), verdict=verdict, shown=_points(change)))
    return found


def overfits(content: Content, claim: str) -> list[Claim]:
    """Gap between training and test accuracy, of a residual network less that of one of VGG's form."""
    asked = [one for one in _ablations(content) if one.title == "overfitting"]
    return _of(claim, [(" and ".join(one.models), one.gap_change("resnet", "vgg")) for one in asked])


CLAIMS: dict[str, Callable[[Content, str], list[Claim]]] = {
    "0: quantised is smaller": smaller,
    "0: computes less, so runs faster": runs_faster,
    "0: integers use the hardware better": better_used,
    "4: a better architecture beats more epochs": architecture,
    "5: frozen layers do better than training all": frozen,
    "5: transfer shortens training": shortens,
    "6: more loader workers are not always faster": more_workers,
    "7: dropout helps": helps("dropout", ("before activation", "after activation"), "none"),
    "7: dropout before or after the activation makes no difference": no_difference,
    "7: batch normalisation helps": helps("batch norm", ("with",), "without"),
    "7: skip connections help": helps("skip connections", ("with",), "without"),
    "7: with ReLU, He beats Xavier": helps("initialisation", ("he",), "xavier"),
    "7: a ResNet overfits more easily than a VGG": overfits,
}
"""The claims by number of the note."""


def _transfers(content: Content) -> list[Question]:
    return _meant(transfers(content.of("transfer"), content.datasets))


def _ablations(content: Content) -> list[Question]:
    return _meant(ablations(content.of("ablation"), content.datasets))


def _meant(questions: Sequence[Question]) -> list[Question]:
    return [one for one in questions if not one.first.first.meaningless]


def _named(question: Question) -> str:
    return f"{question.first.first.case.model}, {question.title.replace('_', ' ')}"


def _of(claim: str, compared: Sequence[tuple[str, Comparison | None]], *, turned: bool = False) -> list[Claim]:
    """One line a comparison that has an interval. ``turned``: the claim holds below 1."""
    flipped: dict[Side, Side] = {"above": "below", "below": "above"}
    found = []
    for about, comparison in compared:
        if comparison is None or comparison.seeds < 2:
            continue
        side = flipped.get(comparison.side, comparison.side) if turned else comparison.side
        shown = _points(comparison) if comparison.neutral == 0 else _times(comparison)
        found.append(Claim(claim=claim, about=about, verdict=_by_sides([side]), shown=shown))
    return found


def _points(found: Comparison) -> str:
    ends = found.estimate.interval
    spread = f" ({100 * ends.low:+.2f} to {100 * ends.high:+.2f})" if ends else ""
    return f"{100 * found.estimate.value:+.2f}{spread} points, {counted(found.seeds, 'seed')}"


def _times(found: Comparison) -> str:
    ends = found.estimate.interval
    spread = f" ({number(ends.low, 2)} to {number(ends.high, 2)})" if ends else ""
    return f"{number(found.estimate.value, 2)} ×{spread}, {counted(found.seeds, 'seed')}"


def _holds(count: int, total: int) -> str:
    if count == 0:
        return "does not hold"
    return "holds" if count == total else f"holds in {count} of {total}"


def _by_sides(sides: Sequence[Side]) -> str:
    clear = [side for side in sides if side in ("above", "below")]
    return _holds(clear.count("above"), len(clear)) if clear else "no clear difference"
