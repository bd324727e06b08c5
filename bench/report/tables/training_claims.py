"""What the notes claim of training, and whether it holds on each machine: computed from the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.ablations import Ablation, ablations
from bench.report.contents import SHORT, Contents, identity_cells
from bench.report.frame import rows_of
from bench.report.groups import Group
from bench.report.loadings import Loading, loadings
from bench.report.markdown import ABSENT, table
from bench.report.rows import PLACE, Row, Side, is_meaningless
from bench.report.seeds import Comparison, difference, difference_cell, ratio_cell, seeds_words
from bench.report.statistics import Interval
from bench.report.transfers import ALL, HEAD, SCOPES, Transfer, transfers
from bench.report.verdicts import Verdict, by_sides, unjudged

NEGLIGIBLE = 0.01
"""A difference of accuracy, in fractions of 1, that counts as none where the whole interval lies within it."""
RESIDUAL, PLAIN = "note2_resnet_custom", "note2_cnn_vgg"
"""The recipes that note 2 compares: 30 epochs of a residual network, 100 of a CNN of VGG's form."""
NO_SPREAD = "the spread between seeds is not known"
LEVEL = "no difference beyond its 95 % interval"
TEXT = f"""\
Each claim is held against the rows of this report. Accuracies and times are compared seed by seed and judged by their
95 % t interval over seeds; numbers of loader workers by the 95 % intervals of two rows, which must not overlap (and lie
10 % apart, where one process measured). *More workers are not always faster* holds where some larger number is slower
than a smaller one. *Makes no difference* holds where the whole interval lies within {100 * NEGLIGIBLE:.0f} point of 0,
and does not where 0 is outside. *Transfer shortens training* goes by the time of trainings of the same number of
images, without that of the training that gave the weights."""

Item = Group | Loading | Transfer | Ablation
Told = tuple[str, Comparison | None]
"""What is compared, and the comparison; None where one side was not measured."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was measured of training in one place."""

    trainings: tuple[Group, ...] = ()
    loadings: tuple[Loading, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    ablations: tuple[Ablation, ...] = ()


def section(contents: Contents) -> str:
    """Empty where nothing was trained or loaded."""
    found: list[Item] = [
        *contents.trainings,
        *loadings(rows_of(contents.frame, "loading")),
        *transfers(rows_of(contents.frame, "transfer"), contents.datasets),
        *ablations(rows_of(contents.frame, "ablation"), contents.datasets),
    ]
    if not found:
        return ""
    title = "## What the notes claim of training"
    places: dict[tuple[object, ...], list[Item]] = {}
    for item in found:
        if not is_meaningless(item.first):
            places.setdefault(tuple(item.first[name] for name in PLACE), []).append(item)
    if not places:
        return f"{title}\n\nCannot be judged: the smoke budget's figures mean nothing."
    shown = [name for name in PLACE if len({some[0].first[name] for some in places.values()}) > 1]
    cells = [line for some in places.values() for line in _lines(_facts(some), some[0].first, shown)]
    left = ("claim", "verdict", "what the rows show", *(SHORT.get(name, name) for name in shown))
    return "\n\n".join((title, TEXT, table(cells, left=left)))


def _facts(items: Sequence[Item]) -> Facts:
    return Facts(
        trainings=tuple(item for item in items if isinstance(item, Group)),
        loadings=tuple(item for item in items if isinstance(item, Loading)),
        transfers=tuple(item for item in items if isinstance(item, Transfer)),
        ablations=tuple(item for item in items if isinstance(item, Ablation)),
    )


def _lines(facts: Facts, first: Row, shown: Sequence[str]) -> list[dict[str, str]]:
    verdicts = {claim: judge(facts) for claim, judge in CLAIMS.items()}
    return [
        {**identity_cells(first, shown), "claim": claim, "verdict": found.words, "what the rows show": found.rows}
        for claim, found in verdicts.items()
    ]


def architecture(facts: Facts) -> Verdict:
    """Note 2's two trainings, to the end of both: a shortened one says nothing of epochs."""
    pairs = [
        (residual, plain)
        for residual in facts.trainings
        for plain in facts.trainings
        if (residual.first["recipe"], plain.first["recipe"]) == (RESIDUAL, PLAIN)
        and residual.first["dataset"] == plain.first["dataset"]
    ]
    if not pairs:
        return unjudged(f"{RESIDUAL} and {PLAIN} were not both trained")
    whole = [(one, other) for one, other in pairs if not (one.shortened or other.shortened)]
    if not whole:
        return unjudged("the trainings were cut short by the budget")
    return _by_accuracy([(f"on {one.first['dataset']}", difference(one, other)) for one, other in whole])


def frozen(facts: Facts) -> Verdict:
    """The new head alone against all layers."""
    return _by_accuracy([(_named(transfer), transfer.change(HEAD, ALL)) for transfer in facts.transfers])


def shortens(facts: Facts) -> Verdict:
    """Both ways to transfer against the training from scratch, in time."""
    times = [
        (f"{_named(transfer)}, {SCOPES[scope]}", transfer.time_over_scratch(scope))
        for transfer in facts.transfers
        for scope in (HEAD, ALL)
    ]
    known = [(name, found) for name, found in times if found is not None]
    if not known:
        return unjudged("no transfer was measured beside a training from scratch")
    shorter: dict[Side, Side] = {"below": "above", "above": "below"}
    rows = "; ".join(f"{name}: {ratio_cell(found)} × ({seeds_words(found.processes)})" for name, found in known)
    sides = [shorter.get(found.side, found.side) for _, found in known]
    return by_sides(sides, rows, unknown=NO_SPREAD, across=LEVEL)


def more_workers(facts: Facts) -> Verdict:
    """Each thing to load counts once, whatever the number of pairs of its numbers of workers."""
    pairs = {loading.what: loading.worker_pairs() for loading in facts.loadings}
    known = {what: [found for _, _, found in some] for what, some in pairs.items() if some}
    if not known:
        return unjudged("no two numbers of loader workers were measured")
    slower = [f"{what}: {told}" for what, some in pairs.items() if (told := _slower(some))]
    counts = [found.side for some in known.values() for found in some]
    total = f"more slower in {counts.count('below')}, faster in {counts.count('above')} of {len(counts)} pairs"
    sides = [_not_always([found.side for found in some]) for some in known.values()]
    level = "some pairs of numbers of workers cannot be told apart, and in none the larger is slower"
    return by_sides(sides, "; ".join((total, *slower)), unknown="too few samples for an interval", across=level)


def _slower(pairs: Sequence[tuple[int, int, Comparison]]) -> str:
    told = [f"{more} against {fewer} {ratio_cell(found)} ×" for fewer, more, found in pairs if found.side == "below"]
    return ", ".join(told)


def _not_always(found: Sequence[Side]) -> Side:
    """*above* where more is slower somewhere, *below* where more is always faster."""
    if "below" in found:
        return "above"
    if set(found) == {"above"}:
        return "below"
    return "unknown" if set(found) == {"unknown"} else "across"


def helps(question: str, variants: Sequence[str], base: str) -> Callable[[Facts], Verdict]:
    """Whether each of ``variants`` is more accurate than ``base``."""

    def judge(facts: Facts) -> Verdict:
        asked = [ablation for ablation in facts.ablations if ablation.question == question]
        pairs = [(ablation, variant) for ablation in asked for variant in variants]
        return _by_accuracy([(_variant(*pair), pair[0].change(pair[1], base)) for pair in pairs])

    return judge


def _variant(ablation: Ablation, variant: str) -> str:
    return f"{', '.join(ablation.models)} {variant}"


def no_difference(facts: Facts) -> Verdict:
    """Dropout before the activation less dropout after it: equivalence asks for a narrow interval around 0."""
    found = [
        (", ".join(ablation.models), change)
        for ablation in facts.ablations
        if ablation.question == "dropout" and (change := ablation.change("before activation", "after activation"))
    ]
    if not found:
        return unjudged("no seed was trained with dropout before and after the activation")
    sides = [_equivalent(change) for _, change in found]
    return by_sides(sides, _told(found), unknown=NO_SPREAD, across="the interval is wider than that")


def _equivalent(found: Comparison) -> Side:
    interval: Interval | None = found.estimate.interval
    if interval is None:
        return "unknown"
    if found.side != "across":
        return "below"
    return "above" if max(-interval.low, interval.high) <= NEGLIGIBLE else "across"


def overfits(facts: Facts) -> Verdict:
    """The gap between training and test accuracy, of a residual network less that of one of VGG's form."""
    return _by_accuracy(
        [
            (f"gap of {' less '.join(reversed(ablation.models))}", ablation.gap_change("resnet", "vgg"))
            for ablation in facts.ablations
            if ablation.question == "overfitting"
        ]
    )


def cheaper(facts: Facts) -> Verdict:
    return Verdict(words="not tested here", rows=ABSENT)


CLAIMS: dict[str, Callable[[Facts], Verdict]] = {
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
    "8: quantisation also makes training cheaper": cheaper,
}
"""The claims in the notes' order. Each is judged by what was measured in one place."""


def _by_accuracy(compared: Sequence[Told]) -> Verdict:
    """*Above* is what the claim says."""
    known = [(name, found) for name, found in compared if found is not None]
    if not known:
        return unjudged("not both sides of it were measured")
    return by_sides([found.side for _, found in known], _told(known), unknown=NO_SPREAD, across=LEVEL)


def _told(known: Sequence[tuple[str, Comparison]]) -> str:
    return "; ".join(
        f"{name}: {difference_cell(found)} points ({seeds_words(found.processes)})" for name, found in known
    )


def _named(transfer: Transfer) -> str:
    return f"{transfer.first['model']}, {transfer.source.replace('_', ' ')}"
