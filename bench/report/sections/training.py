"""Training: accuracies beside the notes' published ones, what choosing an epoch does, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.report.columns import words
from bench.report.content import Content
from bench.report.formats import listing
from bench.report.parts import Column, Fold, Part, Quantity, Section, Table, Value, bullets, paragraph
from bench.report.seeds import Group, accuracy_value, training_groups
from bench.report.statistics import Estimate

REPRODUCTION = """\
All training images train the network and the last epoch counts. Corrected accuracy is on the test images as they \
are, in evaluation mode; as noted has the note's test-time faults on. ± is 95 %: of the test images for one seed, of \
these and the seeds for several."""
HELD_OUT = (
    "Part of the training images is set aside and chooses the epoch; the test images judge both epochs, corrected."
)


def figure(
    name: str, value: Callable[[Group], Value], unit: str = "", better: str | None = None, **form: object
) -> Column[Group]:
    return Column(quantity=Quantity(name=name, unit=unit, better=better, **form), value=value)  # type: ignore[arg-type]


def percent(name: str, value: Callable[[Group], Value], better: str | None = "higher", **form: object) -> Column[Group]:
    return figure(name, value, "%", better, scale=100, **form)


NAME: tuple[Column[Group], ...] = (
    words("network", lambda group: group.first.case.model),
    words("recipe", lambda group: group.first.case.recipe, rank=2),
)
SEEDS = figure("seeds", lambda group: len(group.results), digits=1)
ACCURACIES: tuple[Column[Group], ...] = (
    *NAME,
    SEEDS,
    figure("images seen", lambda group: _seen(group), digits=1),
    percent("corrected", lambda group: accuracy_value(group.accuracy)),
    percent("as noted", lambda group: accuracy_value(group.as_noted)),
    percent("published", lambda group: group.published.accuracy if group.published else None, None),
    figure("difference", lambda group: group.to_published(), "points", None, scale=100, signed=True, decimals=2),
    words("not comparable", lambda group: group.incomparable),
)
CHOSEN: tuple[Column[Group], ...] = (
    *NAME,
    SEEDS,
    words("chosen epoch", lambda group: ", ".join(f"{one.figure('chosen_epoch') or 0:.0f}" for one in group.results)),
    percent("held-out", lambda group: group.mean("validation_accuracy")),
    percent("test, chosen epoch", lambda group: accuracy_value(group.accuracy_of("test_accuracy_chosen"))),
    percent("test, last epoch", lambda group: accuracy_value(group.accuracy_of("test_accuracy_last"))),
)
COST: tuple[Column[Group], ...] = (
    *NAME,
    figure("batch", lambda group: group.first.case.batch_size, digits=1),
    figure("epoch", lambda group: Estimate(value=group.timing.median, interval=group.timing.interval), "s", "lower"),
    figure("images/s", lambda group: group.rate, "", "higher"),
    figure("parameters", lambda group: group.mean("parameters")),
    figure("step adds", lambda group: _peak(group), "MB", "lower", scale=1e-6),
    figure("test loss", lambda group: group.mean("test_loss"), "", "lower"),
    words("marks", lambda group: "; ".join(group.marks) or None),
)


def training_section(content: Content, others: Sequence[Section | None]) -> Section | None:
    """Trainings, then ``others``: what else was measured of training."""
    groups = training_groups(content.of("training"), content.datasets)
    inside = [section for section in others if section]
    if not groups and not inside:
        return None
    parts: list[Part] = []
    chosen = [group for group in groups if group.held_out]
    whole = [group for group in groups if not group.held_out]
    if whole:
        table: Table[Group] = Table(columns=ACCURACIES, rows=tuple(whole))
        parts += [paragraph(REPRODUCTION), table, *_remarks(whole)]
    if groups:
        parts.append(Table(columns=COST, rows=tuple(groups)))
    if chosen:
        folded = Table(columns=CHOSEN, rows=tuple(chosen))
        parts.append(Fold(title="With a held-out split", parts=(paragraph(HELD_OUT), folded)))
    return Section(title="Training", parts=(*parts, *inside), menu="Training")


def _remarks(groups: Sequence[Group]) -> list[Part]:
    """Cautions on the accuracies, and further figures of the notes."""
    chance = [group.first.case.model for group in groups if group.at_chance]
    lines = [f"No better than guessing, so that accuracies say nothing: {listing(chance)}."] if chance else []
    if any(group.shortened for group in groups):
        lines.append(
            "Trainings were shortened: they say what a precision costs these weights, not which network is better."
        )
    if all(len(group.results) == 1 for group in groups):
        lines.append("One seed each: ± leaves out the spread between seeds.")
    notes = {group.first.case.recipe: group.published for group in groups if group.published and group.published.text}
    lines += [f"Note {one.note} on {recipe}: {one.text}." for recipe, one in notes.items() if one]
    return [bullets(lines)] if lines else []


def _seen(group: Group) -> Value:
    epochs, images = group.mean("epochs"), group.mean("images_per_epoch")
    return epochs * images if epochs and images else None


def _peak(group: Group) -> Value:
    return group.first.peak("steady", "cuda_allocated") or group.first.peak("steady", "rss")
