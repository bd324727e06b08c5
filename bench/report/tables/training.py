"""Training: accuracies beside the notes' published ones, what choosing an epoch does, what it costs, the curves."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.report.cells import limit_cell
from bench.report.contents import Contents, common_line, headers, identity_cells, varying
from bench.report.groups import Group
from bench.report.markdown import ABSENT, bullets, escape, integer, megabytes, number, percent, plus_minus, table
from bench.report.rows import figure
from bench.report.statistics import Accuracy
from bench.report.tables import findings

SHOWN = ("model", "recipe")
COMMON = ("machine", "code", "dataset", "image size [px]", "device", "threads", "budget")
WORDS = ("model", "recipe", "data set", "marks", "machine", "code", "device", "budget", "pipeline", "options")
REPRODUCTION_TEXT = """\
**Reproduction.** All training images train the network and the last epoch counts. *Corrected* is measured on the test
images as they are, in evaluation mode; *as the note measured* has the note's test-time faults on. ± is one standard
error: of the test images for one seed (one seed cannot show the spread between seeds), of test images and seeds for
several. The difference is *as the note measured* less *published*; where the training was not the published one, it
says why not."""
HELD_OUT_TEXT = """\
**With a held-out split.** Part of the training images is set aside and chooses the epoch; the test images judge the
chosen and the last epoch, both corrected."""
COST_TEXT = """\
**Cost.** Seconds are the training part of an epoch, without evaluation: median over all epochs and seeds, ± the
longer side of its 95 % interval (of one seed, six epochs give one). Weights are those of the network, in units of
10^6 bytes."""
CURVES_TEXT = """\
Left of each pair the loss, right the accuracy, by epoch as the run counted epochs. Each line is the mean over the
seeds, its band runs from the lowest seed to the highest. Training loss and accuracy are taken while the epoch runs, on
augmented images and with dropout on: they are not those of the network as the epoch leaves it. The dotted line is the
corrected test accuracy of the epoch that counts."""


def section(contents: Contents) -> str:
    groups = contents.trainings
    if not groups:
        return ""
    firsts = [group.first for group in groups]
    columns = [*SHOWN, *(name for name in varying(firsts, SHOWN) if name not in ("seed", "batch size"))]
    shown = findings.trainings(contents)
    parts = ["## Training", *(("**What the rows show**", bullets(shown)) if shown else ())]
    parts += [common_line(contents, firsts, [name for name in COMMON if name not in columns])]
    parts += [*_accuracies(groups, columns), *_held_out(groups, columns)]
    parts += [
        COST_TEXT,
        table([_cost_row(group, columns) for group in groups], left=WORDS, key=headers(columns)),
        *_curves(contents),
    ]
    return "\n\n".join(filter(None, parts))


def _curves(contents: Contents) -> list[str]:
    names = dict.fromkeys(str(group.first["dataset"]) for group in contents.trainings)
    pictures = [
        (name, contents.picture("learning-curves", name, f"learning curves on {escape(name)}")) for name in names
    ]
    shown = [(name, image) for name, image in pictures if image]
    told = [part for name, image in shown for part in (_gap(contents.trainings, name), image)]
    return ["### Learning curves", CURVES_TEXT, *told] if shown else []


def _gap(groups: Sequence[Group], dataset: str) -> str:
    """The training whose accuracy while training is furthest from that on the test images."""
    gaps = []
    for group in groups:
        last = [row["series"]["train_accuracy"][-1] for row in group.rows if row["series"].get("train_accuracy")]
        if group.first["dataset"] == dataset and group.accuracy and last:
            gaps.append((abs(statistics.fmean(last) - group.accuracy.mean), statistics.fmean(last), group))
    if not gaps:
        return ""
    _, trained, group = max(gaps, key=lambda gap: gap[0])
    return (
        f"On {escape(dataset)} training and test accuracy end furthest apart in {escape(group.first['model'])} "
        f"({escape(group.first['recipe'] or 'no recipe')}): {percent(trained)} % in its last training epoch, "
        f"{_percent(group.accuracy)} % on the test images."
    )


def _accuracies(groups: Sequence[Group], columns: Sequence[str]) -> list[str]:
    shown = [group for group in groups if not group.held_out]
    if not shown:
        return []
    notes = [
        f"Note {group.published.note} also says of {escape(group.first['model'])}: {escape(group.published.text)}."
        for group in {group.first["recipe"]: group for group in shown}.values()
        if group.published and group.published.text
    ]
    rows = [_accuracy_row(group, columns) for group in shown]
    return [REPRODUCTION_TEXT, table(rows, left=WORDS, keep=("published [%]",), key=headers(columns)), *notes]


def _accuracy_row(group: Group, columns: Sequence[str]) -> dict[str, str]:
    published = group.published
    return {
        **identity_cells(group.first, columns),
        **_trained_on(group),
        "test accuracy, corrected [%] ↑": _percent(group.accuracy),
        "between seeds [%]": _between(group.accuracy),
        "as the note measured [%] ↑": _percent(group.as_noted),
        "published [%]": percent(published.accuracy) if published else ABSENT,
        "difference [points]": _difference(group),
        "test loss, corrected ↓": _loss(group.mean("test_loss")),
        "test loss, as the note measured ↓": _loss(group.mean("test_loss_as_noted")),
        "published loss": _loss(published.loss) if published else ABSENT,
    }


def _difference(group: Group) -> str:
    difference = group.to_published()
    if difference:
        return f"{100 * difference.value:+.2f} ± {100 * difference.standard_error:.2f}"
    known = group.published is not None and group.published.accuracy is not None
    return group.incomparable or ABSENT if known else ABSENT


def _held_out(groups: Sequence[Group], columns: Sequence[str]) -> list[str]:
    shown = [group for group in groups if group.held_out]
    rows = [_held_out_row(group, columns) for group in shown]
    return [HELD_OUT_TEXT, table(rows, left=WORDS, key=headers(columns))] if rows else []


def _held_out_row(group: Group, columns: Sequence[str]) -> dict[str, str]:
    chosen = group.accuracy_of("test_accuracy_chosen")
    return {
        **identity_cells(group.first, columns),
        **_trained_on(group),
        "chosen epoch": ", ".join(integer(figure(row, "chosen_epoch")) for row in group.rows),
        "held-out accuracy, chosen epoch [%] ↑": percent(group.mean("validation_accuracy")),
        "test accuracy, chosen epoch [%] ↑": _percent(chosen),
        "chosen epoch, between seeds [%]": _between(chosen),
        "test accuracy, last epoch [%] ↑": _percent(group.accuracy_of("test_accuracy_last")),
    }


def _cost_row(group: Group, columns: Sequence[str]) -> dict[str, str]:
    timing, rate = group.timing, group.mean("images_per_second")
    error = timing.interval.error(timing.median) if timing.interval else None
    return {
        **identity_cells(group.first, columns),
        "batch": str(group.first["batch size"]),
        "images per epoch": integer(group.mean("images_per_epoch")),
        "time per epoch [s] ↓": plus_minus(timing.median, error),
        "samples": str(timing.samples),
        "throughput [images/s] ↑": plus_minus(rate, error and rate and rate * error / timing.median),
        "parameters": integer(group.mean("parameters")),
        "published parameters": integer(group.published.parameters if group.published else None),
        "weights [MB]": megabytes(group.first["weights [B]"]),
        "steady peak, process [MB] ↓": peak_cell(group, "steady peak, rss [B]"),
        "steady peak, CUDA allocated [MB] ↓": peak_cell(group, "steady peak, cuda allocated [B]"),
        "steady peak, CUDA reserved [MB] ↓": peak_cell(group, "steady peak, cuda reserved [B]"),
        "loss of the last mini-batch": number(group.mean("last_batch_loss")),
        "share of limit [%] ↑": limit_cell(group.first),
        "marks": "; ".join(_marks(group)) or ABSENT,
    }


def _marks(group: Group) -> list[str]:
    unstable = group.timing.unstable
    told = [f"unstable: {unstable}"] if unstable else []
    return [*told, *dict.fromkeys(row["disturbed"] for row in group.rows if row["disturbed"])]


def _trained_on(group: Group) -> dict[str, str]:
    seeds = [str(row["seed"]) for row in group.rows]
    return {
        "seeds": f"{len(seeds)} ({', '.join(seeds)})",
        "trained on [images]": integer(group.mean("training_images")),
        "epochs": integer(group.mean("epochs")),
        "images per epoch": integer(group.mean("images_per_epoch")),
        "tested on [images]": integer(group.test_images or None),
    }


def group_marks(group: Group) -> list[str]:
    """What a reader must know before trusting times and accuracies of the group."""
    unstable = [f"unstable: {group.timing.unstable}"] if group.timing.unstable else []
    return [*unstable, *(["no better than guessing"] if group.at_chance else [])]


def peak_cell(group: Group, column: str) -> str:
    """The highest of all seeds."""
    return megabytes(max((row[column] for row in group.rows if row[column] is not None), default=None))


def _percent(accuracy: Accuracy | None) -> str:
    return percent(accuracy.mean, accuracy.standard_error) if accuracy else ABSENT


def _between(accuracy: Accuracy | None) -> str:
    if accuracy is None or accuracy.deviation is None:
        return ABSENT
    return f"{percent(accuracy.lowest)} to {percent(accuracy.highest)}, s {percent(accuracy.deviation)}"


def _loss(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"
