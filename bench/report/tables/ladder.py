"""Ladders: how fast each network trains, one thing at a time, and whether it learns as much."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.records import Failure
from bench.report.cells import BASELINE
from bench.report.contents import Contents, common_line
from bench.report.frame import rows_of, sorted_failures
from bench.report.ladders import Ladder, Rung, ladders
from bench.report.markdown import ABSENT, escape, listing, number, percent, plus_minus, table
from bench.report.rows import is_meaningless
from bench.report.seeds import FEW, Comparison, difference, difference_cell, hidden, ratio_cell, seeds_words
from bench.report.tables.failures import TITLES
from bench.report.tables.training import group_marks

COMMON = ("machine", "code", "recipe", "dataset", "image size [px]", "batch size", "device", "threads", "budget")
WORDS = ("rung", "marks")
TEXT = f"""\
From the notes' loop up, each rung with one thing more than the one before. *Images/s* are those of the training part of
an epoch, from the median over epochs and seeds; compiling happened before. *To the rung before* goes to the last one
that was measured, *to the notes' loop* to the faster of its lines. Ratios are paired by seed, each a process of its
own: their geometric mean, in brackets its 95 % interval (Student's t, of logarithms). Fewer than {FEW} seeds leave that
interval wide; of one seed it is that of the epochs, and counts from 10 % on. The *change* of the accuracy is
paired by seed as well, ± its 95 % t interval over seeds: *0 inside* means that no difference shows. The ± of an
accuracy is one standard error."""


def section(contents: Contents) -> str:
    failures = [pair for pair in sorted_failures(contents.runs) if pair[1].case.experiment == "ladder"]
    found = ladders(rows_of(contents.frame, "ladder"), failures, contents.datasets)
    if not found:
        return ""
    firsts = [ladder.first for ladder in found]
    parts = ["## Training made faster", common_line(contents, firsts, COMMON), TEXT]
    for ladder in found:
        own = [name for name in COMMON if len({first[name] for first in firsts}) > 1]
        parts += [f"### {escape(ladder.first['model'])}", common_line(contents, [ladder.first], own)]
        parts += [_finding(ladder), table([_line(ladder, rung) for rung in ladder.rungs], left=WORDS)]
    return "\n\n".join(filter(None, parts))


def _line(ladder: Ladder, rung: Rung) -> dict[str, str]:
    group, rate = rung.group, rung.rate
    if group is None or rate is None:
        return {"rung": ladder.name(rung), "marks": _why(rung.failures)}
    accuracy = group.accuracy
    return {
        "rung": ladder.name(rung),
        "images/s ↑": plus_minus(rate.value, rate.interval.error(rate.value) if rate.interval else None),
        "to the rung before [×] ↑": ratio_cell(ladder.over_before(rung)),
        "to the notes' loop [×] ↑": BASELINE if rung is ladder.start else ratio_cell(ladder.over_start(rung)),
        "test accuracy [%] ↑": percent(accuracy.mean, accuracy.standard_error) if accuracy else ABSENT,
        "change [points] ↑": difference_cell(_change(ladder, rung)),
        "seeds": str(len(group.rows)),
        "compile [s] ↓": number(_compile(rung)),
        "marks": _marks(rung),
    }


def _compile(rung: Rung) -> float | None:
    """Of the first seed: the others may find its compiled code in the cache."""
    return rung.group.first["cold compile [s]"] if rung.group else None


def _change(ladder: Ladder, rung: Rung) -> Comparison | None:
    start = ladder.start
    if start is None or start is rung or start.group is None or rung.group is None:
        return None
    return difference(rung.group, start.group)


def _marks(rung: Rung) -> str:
    found = group_marks(rung.group) if rung.group else []
    return "; ".join((*found, *([_why(rung.failures)] if rung.failures else []))) or ABSENT


def _why(failures: Sequence[Failure]) -> str:
    """Every reason once, with its seeds."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        seeds.setdefault((failure.kind, failure.message.strip()), []).append(str(failure.case.seed))
    return "; ".join(
        f"{TITLES[kind]} (seed {', '.join(some)}): {message or 'no reason given'}"
        for (kind, message), some in seeds.items()
    )


def _finding(ladder: Ladder) -> str:
    start, best = ladder.start, ladder.best
    if is_meaningless(ladder.first) or start is None:
        return ""
    model, slow = escape(ladder.first["model"]), escape(", ".join(start.words))
    gain = ladder.over_start(best) if best else None
    if best is None or gain is None:
        told = f"{model}: no rung trains faster than {slow} by more than the intervals leave open"
    else:
        how, seeds = escape(", ".join(best.words)), seeds_words(gain.processes)
        told = f"{model} trains {ratio_cell(gain)} times as fast with {how} as with {slow} ({seeds})"
        told += _largest(ladder, best)
    return f"**{told}{_not_shown(ladder)}; {_accuracies(ladder)}.**"


def _largest(ladder: Ladder, best: Rung) -> str:
    """The rung up to ``best`` that gained most over the one before, if it can be told from nothing."""
    below = [rung for rung in ladder.rungs if rung.position <= best.position]
    steps = [(step, rung) for rung in below if (step := ladder.over_before(rung)) and step.side == "above"]
    if not steps:
        return ""
    step, rung = max(steps, key=lambda pair: pair[0].estimate.value)
    return f", the largest step of it *{escape(ladder.name(rung))}*, {ratio_cell(step)} times"


def _not_shown(ladder: Ladder) -> str:
    """The rung of the highest median, where its interval leaves open that it is no faster than the lowest."""
    fastest = ladder.fastest
    gain = ladder.over_start(fastest) if fastest and fastest is not ladder.best else None
    if fastest is None or gain is None:
        return ""
    name, ratio = escape(ladder.name(fastest)), ratio_cell(gain)
    return f"; the highest median is that of *{name}*, {ratio} times that of the notes' loop, which does not show"


def _accuracies(ladder: Ladder) -> str:
    changes = [(found, rung) for rung in ladder.rungs if (found := _change(ladder, rung))]
    judged = [(found, rung) for found, rung in changes if found.side != "unknown"]
    if not judged:
        return "whether accuracies differ cannot be judged with one seed" if changes else "no accuracies to compare"
    apart = [f"{ladder.name(rung)} {difference_cell(found)}" for found, rung in judged if found.side != "across"]
    seeds = seeds_words(min(found.processes for found, _ in judged))
    open_ = hidden([found for found, _ in judged])
    if not apart:
        return ", but ".join(filter(None, (f"no accuracy differs beyond its interval ({seeds})", open_)))
    where = f"{len(apart)} of {len(judged)} rungs"
    told = f"accuracy differs beyond its interval in {where} ({seeds}): {escape(listing(apart))}"
    return "; in the others ".join(filter(None, (told, open_)))
