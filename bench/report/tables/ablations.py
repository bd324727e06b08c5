"""Ablations: what the notes say that helps a network, with it and without it, over seeds."""

from __future__ import annotations

from bench.report.ablations import Ablation, ablations, gap_of
from bench.report.cells import BASELINE
from bench.report.contents import Contents, common_line
from bench.report.frame import rows_of
from bench.report.groups import Group
from bench.report.markdown import ABSENT, escape, listing, percent, points, table
from bench.report.rows import is_meaningless
from bench.report.seeds import Comparison, difference_cell, hidden, seeds_words
from bench.report.statistics import student

COMMON = ("machine", "code", "recipe", "dataset", "image size [px]", "batch size", "device", "threads", "budget")
WORDS = ("variant", "model", "marks")
TEXT = """\
One thing changed at a time, all else alike. Accuracy is on the test images, ± one standard error. *Change* is the
accuracy less that of the first variant, paired by seed, ± its 95 % t interval over seeds: *0 inside*
means that no difference shows. *Gap* is the accuracy on the training images in the last epoch, as it ran (augmented,
with dropout), less that on the test images, ± its t interval."""


def section(contents: Contents) -> str:
    found = ablations(rows_of(contents.frame, "ablation"), contents.datasets)
    if not found:
        return ""
    firsts = [ablation.first for ablation in found]
    own = [name for name in COMMON if len({first[name] for first in firsts}) > 1]
    parts = ["## What helps a network to learn", common_line(contents, firsts, COMMON), TEXT]
    for ablation in found:
        parts += [f"### {escape(f'{ablation.question}: {listing(ablation.models)}')}"]
        parts += [common_line(contents, [ablation.first], own), _finding(ablation)]
        parts.append(table([_line(ablation, variant) for variant in ablation.variants], left=WORDS))
    return "\n\n".join(filter(None, parts))


def _line(ablation: Ablation, variant: str) -> dict[str, str]:
    group = ablation.variants[variant]
    accuracy, several = group.accuracy, len(ablation.models) > 1
    return {
        "variant": variant,
        "model": group.first["model"] if several else ABSENT,
        "seeds": str(len(group.rows)),
        "test accuracy [%] ↑": percent(accuracy.mean, accuracy.standard_error) if accuracy else ABSENT,
        "change [points] ↑": BASELINE
        if variant == ablation.base
        else difference_cell(ablation.change(variant, ablation.base)),
        "gap, training less test [points] ↓": _gap(group),
        "marks": _marks(group),
    }


def _gap(group: Group) -> str:
    gaps = [gap for row in group.rows if (gap := gap_of(row)) is not None]
    if not gaps:
        return ABSENT
    found = student(gaps)
    return points(found.value, found.interval.error(found.value) if found.interval else None)


def _marks(group: Group) -> str:
    return "no better than guessing" if group.at_chance else ABSENT


def _finding(ablation: Ablation) -> str:
    """What the interval of each variant tells against the first."""
    if is_meaningless(ablation.first):
        return ""
    pairs = [(variant, ablation.change(variant, ablation.base)) for variant in ablation.variants]
    told = [_against(ablation.base, variant, found) for variant, found in pairs if found]
    told += filter(None, [hidden([found for _, found in pairs if found])])
    return f"**{'; '.join(told)}.**" if told else ""


def _against(base: str, variant: str, found: Comparison) -> str:
    words = {"above": "better than", "below": "worse than"}.get(found.side, "not told apart from")
    change = f"{difference_cell(found)} points ({seeds_words(found.processes)})"
    return f"{escape(variant)} is {words} {escape(base)}: {change}"
