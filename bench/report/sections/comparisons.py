"""Comparisons of trainings: steps taken apart, loading, transfer, ablations, speedruns, several processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.report.columns import PROCESSES, REACHED, words
from bench.report.content import Content
from bench.report.learning import SCOPES, Question, ablations, gap_of, loading_title, loadings, over, transfers
from bench.report.parts import Column, Part, Quantity, Section, Table, Value, bullets, paragraph
from bench.report.published import SPEEDRUNS
from bench.report.results import Result
from bench.report.seeds import (
    Comparison,
    Group,
    accuracy_value,
    comparison_value,
    training_groups,
    words_of,
)
from bench.report.statistics import Estimate, per_second, student, summarise

SIGNED = {"unit": "points", "scale": 100, "signed": True, "decimals": 2}
PARTS = {"loading": "loading", "forward": "forward", "backward": "backward", "optimizer": "optimiser"}
"""Series of a training step, without their ``_seconds``, and how they are called."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One way of a question."""

    question: Question
    name: str

    @property
    def group(self) -> Group:
        return self.question.groups[self.name]

    @property
    def change(self) -> Comparison | None:
        return self.question.change(self.name, self.question.base)


def question_figure(name: str, value: Callable[[Line], Value], **form: object) -> Column[Line]:
    return Column(quantity=Quantity(name=name, **form), value=value)  # type: ignore[arg-type]


SHARED: tuple[Column[Line], ...] = (
    question_figure("seeds", lambda line: len(line.group.results), digits=1),
    question_figure("accuracy", lambda line: accuracy_value(line.group.accuracy), unit="%", scale=100, better="higher"),
    question_figure("change", lambda line: comparison_value(line.change), better="higher", **SIGNED),
)
MARKS: Column[Line] = words("marks", lambda line: "; ".join(line.group.marks) or None)


def transfer_section(content: Content) -> Section | None:
    """From scratch, the new head alone, all layers."""
    found = transfers(content.of("transfer"), content.datasets)
    columns = (
        words("what learns", lambda line: SCOPES.get(line.name, line.name)),
        *SHARED,
        question_figure("training", lambda line: line.group.mean("training_seconds"), unit="s", better="lower"),
        question_figure(
            "time", lambda line: comparison_value(line.question.time_over(line.name)), unit="×", better="lower"
        ),
        question_figure("trainable", lambda line: line.group.mean("trainable_parameters"), better="lower"),
        MARKS,
    )
    text = "New classes, from other weights; changes and times against training from scratch, paired by seed, ± 95 %."
    return _questions("Transfer", text, found, columns, lambda one: f"{one.first.first.case.model}, {one.title}")


def ablation_section(content: Content) -> Section | None:
    """Variants that the notes say help, with and without."""
    found = ablations(content.of("ablation"), content.datasets)
    columns = (
        words("variant", lambda line: line.name),
        words("network", lambda line: line.group.first.case.model, rank=2),
        *SHARED,
        question_figure("gap", lambda line: _gap(line.group), better="lower", **SIGNED),
        MARKS,
    )
    text = "One thing changed at a time; changes against the first variant, paired by seed, ± 95 %."
    title = "What helps a network to learn"
    return _questions(title, text, found, columns, lambda one: f"{one.title}: {', '.join(one.models)}")


def _questions(
    title: str, text: str, found: list[Question], columns: tuple[Column[Line], ...], name: Callable[[Question], str]
) -> Section | None:
    if not found:
        return None
    parts: list[Part] = [paragraph(text)]
    for one in found:
        rows = tuple(Line(question=one, name=way) for way in one.groups)
        parts.append(Section(title=name(one), parts=(Table(columns=columns, rows=rows),)))
    return Section(title=title, parts=tuple(parts))


def _gap(group: Group) -> Value:
    gaps = [gap for one in group.results if (gap := gap_of(one)) is not None]
    return student(gaps) if gaps else None


def figure(name: str, value: Callable[[Result], Value], **form: object) -> Column[Result]:
    return Column(quantity=Quantity(name=name, **form), value=value)  # type: ignore[arg-type]


def steps_section(content: Content) -> Section | None:
    """Training steps taken apart."""
    rows = content.of("training_step")
    if not rows:
        return None
    columns: tuple[Column[Result], ...] = (
        words("network", lambda one: one.case.model),
        words("settings", lambda one: ", ".join(words_of(one))),
        figure("images/s", lambda one: per_second(one.timing, one.first.items_per_step), better="higher"),
        *(
            figure(f"{title}", lambda one, part=part: _part(one, part), unit="%", scale=100, digits=2)  # type: ignore[misc]
            for part, title in PARTS.items()
        ),
        REACHED,
        words("marks", lambda one: "; ".join(mark.split(":")[0] for mark in one.marks) or None),
    )
    text = "Whole steps at the recipe's batch size, warm; parts are shares of the time of all steps."
    return Section(
        title="Where a training step goes", parts=(paragraph(text), Table(columns=columns, rows=tuple(rows)))
    )


def _part(result: Result, part: str) -> Value:
    """Share of a part in the steps of the first process, which alone tells its parts."""
    seconds = {name: math.fsum(result.first.series.get(f"{name}_seconds", ())) for name in PARTS}
    whole = math.fsum(seconds.values())
    return seconds[part] / whole if whole else None


def part_median(result: Result, part: str) -> Estimate | None:
    """Seconds of one part of a step: median with its interval."""
    seconds = result.first.series.get(f"{part}_seconds")
    if not seconds:
        return None
    found = summarise([seconds])
    return Estimate(value=found.median, interval=found.interval)


def loading_section(content: Content) -> Section | None:
    """More workers, or no loader."""
    found = loadings(content.of("loading"))
    if not found:
        return None
    parts: list[Part] = [paragraph("Each sample is a whole pass over the items; workers start anew in each.")]
    for members in found:
        base = next((one for one in members if one.option("workers") == 0), None)
        columns: tuple[Column[Result], ...] = (
            words("pipeline", lambda one: one.case.pipeline),
            figure("workers", lambda one: one.option("workers"), digits=1),
            figure("items/s", lambda one: per_second(one.timing, one.first.items_per_step), better="higher"),
            figure(
                "× 0 workers",
                lambda one, base=base: over(one, base).estimate.value if base and one is not base else None,  # type: ignore[misc]
                better="higher",
            ),
            figure("first pass", lambda one: one.figure("first_pass_seconds"), unit="s", better="lower"),
            PROCESSES,
            words("marks", lambda one: "; ".join(mark.split(":")[0] for mark in one.marks) or None),
        )
        parts.append(Section(title=loading_title(members), parts=(Table(columns=columns, rows=tuple(members)),)))
    return Section(title="Loading", parts=tuple(parts))


def speedrun_section(content: Content) -> Section | None:
    """Seconds of training until the test accuracy reaches its target."""
    groups = training_groups(content.of("speedrun"), content.datasets)
    if not groups:
        return None

    def column(name: str, value: Callable[[Group], Value], **form: object) -> Column[Group]:
        return Column(quantity=Quantity(name=name, **form), value=value)  # type: ignore[arg-type]

    columns: tuple[Column[Group], ...] = (
        words("network", lambda group: group.first.case.model),
        words("settings", lambda group: ", ".join(words_of(group.first))),
        column("target", lambda group: group.first.figure("target_accuracy"), unit="%", scale=100),
        words("reached by", lambda group: f"{len(_reached(group))} of {len(group.results)} seeds"),
        column(
            "time to it", lambda group: student(_reached(group)) if _reached(group) else None, unit="s", better="lower"
        ),
        column("epochs", lambda group: group.mean("epochs_to_target"), better="lower"),
        column("accuracy", lambda group: accuracy_value(group.accuracy), unit="%", scale=100, better="higher"),
        column("compile", lambda group: group.first.first.cold.compile, unit="s", better="lower", digits=2),
        words("why not", lambda group: _why_not(group)),
    )
    text = "Seconds of training until the test accuracy, read outside of the clock, first reaches the target."
    parts = (paragraph(text), Table(columns=columns, rows=tuple(groups)), paragraph("Published:"), bullets(SPEEDRUNS))
    return Section(title="Speedrun", parts=parts)


def scaling_section(content: Content) -> Section | None:
    """Trainings on several processes."""
    rows = content.of("scaling")
    if not rows:
        return None
    columns: tuple[Column[Result], ...] = (
        words("network", lambda one: one.case.model),
        figure("processes", lambda one: one.figure("processes"), digits=1),
        words("scaling", lambda one: str(one.option("scaling")) if one.figure("efficiency") is not None else None),
        figure("images/s", lambda one: per_second(one.timing, one.first.items_per_step), better="higher"),
        figure("efficiency", lambda one: one.figure("efficiency"), unit="%", scale=100, better="higher", digits=3),
        figure("difference of gradients", lambda one: one.figure("gradient_error"), better="lower", digits=2),
        figure(
            "accuracy",
            lambda one: one.first.quality.value if one.first.quality else None,
            unit="%",
            scale=100,
            better="higher",
            digits=3,
        ),
        words("notes", lambda one: "; ".join(one.first.notes) or None),
    )
    text = (
        "DistributedDataParallel through torchrun. Strong: the processes share the recipe's batch; weak: each has one. "
        "Efficiency: work a second and process, by that of one process alone, which takes turns with all. Difference "
        "of gradients: to those of one process on the same global batch, by their length."
    )
    return Section(title="Several processes", parts=(paragraph(text), Table(columns=columns, rows=tuple(rows))))


def _reached(group: Group) -> list[float]:
    return [value for one in group.results if (value := one.figure("seconds_to_target")) is not None]


def _why_not(group: Group) -> str | None:
    names = ("figures.seconds_to_target", "seconds_to_target")
    reasons = [one.first.absent[name] for one in group.results for name in names if name in one.first.absent]
    return "; ".join([*dict.fromkeys(reasons), *group.marks]) or None
