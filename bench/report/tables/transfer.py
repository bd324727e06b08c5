"""Transfer: from scratch, the new head alone, all layers; accuracy, time, parameters and memory in one line."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import BASELINE
from bench.report.contents import Contents, common_line
from bench.report.frame import rows_of
from bench.report.groups import Group, training_groups
from bench.report.markdown import ABSENT, escape, integer, percent, plus_minus, table
from bench.report.rows import Row, figure, is_meaningless
from bench.report.seeds import difference_cell, hidden, ratio_cell, seeds_words
from bench.report.statistics import student
from bench.report.tables.training import group_marks, peak_cell
from bench.report.transfers import ALL, HEAD, SCOPES, SCRATCH, Transfer, training_seconds, transfers

COMMON = ("machine", "code", "recipe", "dataset", "image size [px]", "batch size", "device", "threads", "budget")
SOURCES = {"five_classes": "pre-trained on the other half of the classes", "imagenet": "weights of ImageNet"}
WORDS = ("what learns", "marks")
TEXT = """\
A network learns new classes: from scratch, beginning with trained weights that stay as they are but for a new head, or
with all layers trained on; the same number of images each. Accuracy is on the test images of the new classes, ± one
standard error. The *change* to the training from scratch is paired by seed, ± its 95 % t interval over seeds, and so is
the *time* over it, a geometric mean with the interval of logarithms in brackets. *Training* is the time of all epochs,
± its t interval; the training that gave the weights is not in it."""


def section(contents: Contents) -> str:
    found = transfers(rows_of(contents.frame, "transfer"), contents.datasets)
    if not found:
        return ""
    firsts = [transfer.first for transfer in found]
    own = [name for name in COMMON if len({first[name] for first in firsts}) > 1]
    before = training_groups(rows_of(contents.frame, "pretraining"), contents.datasets)
    parts = ["## Transfer", common_line(contents, firsts, COMMON), TEXT]
    for transfer in found:
        heading = f"{transfer.first['model']}, {SOURCES.get(transfer.source, transfer.source)}"
        parts += [f"### {escape(heading)}", common_line(contents, [transfer.first], own)]
        parts += [_pretraining(transfer, before), _finding(transfer)]
        parts.append(table([_line(transfer, scope) for scope in transfer.scopes], left=WORDS))
    return "\n\n".join(filter(None, parts))


def _line(transfer: Transfer, scope: str) -> dict[str, str]:
    group = transfer.scopes[scope]
    accuracy, seconds = group.accuracy, student([training_seconds(row) for row in group.rows])
    base, interval = scope == SCRATCH, seconds.interval
    return {
        "what learns": SCOPES.get(scope, scope),
        "seeds": str(len(group.rows)),
        "test accuracy [%] ↑": percent(accuracy.mean, accuracy.standard_error) if accuracy else ABSENT,
        "change [points] ↑": BASELINE if base else difference_cell(transfer.change(scope)),
        "training [s] ↓": plus_minus(seconds.value, interval.error(seconds.value) if interval else None),
        "time [×] ↓": BASELINE if base else ratio_cell(transfer.time_over_scratch(scope)),
        "trainable parameters ↓": integer(group.mean("trainable_parameters")),
        "steady peak, process [MB] ↓": peak_cell(group, "steady peak, rss [B]"),
        "steady peak, CUDA allocated [MB] ↓": peak_cell(group, "steady peak, cuda allocated [B]"),
        "marks": "; ".join(group_marks(group)) or ABSENT,
    }


def _pretraining(transfer: Transfer, trainings: Sequence[Group]) -> str:
    """How well the network knew the classes that it was trained on before."""
    place = ("machine", "code", "model", "dataset", "image size [px]", "device", "threads", "budget")
    known = [group for group in trainings if all(group.first[name] == transfer.first[name] for name in place)]
    if transfer.source != "five_classes":
        return ""
    if known and known[0].accuracy:
        accuracy = known[0].accuracy
        told = f"{percent(accuracy.mean, accuracy.standard_error)} % ({seeds_words(accuracy.seeds)})"
        return f"On the classes before it reached {told}."
    share = _told(transfer)
    return f"On the classes before it reached {percent(share)} %." if share is not None else ""


def _told(transfer: Transfer) -> float | None:
    """What the rows themselves say of it."""
    rows: list[Row] = [row for group in transfer.scopes.values() for row in group.rows]
    values = [value for row in rows if (value := figure(row, "pretraining_accuracy")) is not None]
    return sum(values) / len(values) if values else None


def _finding(transfer: Transfer) -> str:
    if is_meaningless(transfer.first):
        return ""
    told = [_against_scratch(transfer, scope) for scope in transfer.scopes if scope != SCRATCH]
    frozen = transfer.change(HEAD, ALL)
    if frozen is not None:
        words = {"above": "more accurate", "below": "less accurate"}.get(frozen.side, "not told apart in accuracy")
        told.append(f"the new head alone against all layers: {words}, {difference_cell(frozen)} points")
    changes = [*(transfer.change(scope) for scope in transfer.scopes), frozen]
    told.append(hidden([change for change in changes if change is not None]))
    return f"**{'; '.join(filter(None, told))}.**" if any(told) else ""


def _against_scratch(transfer: Transfer, scope: str) -> str:
    change, time = transfer.change(scope), transfer.time_over_scratch(scope)
    if change is None or time is None:
        return ""
    return (
        f"{SCOPES.get(scope, escape(scope))} against scratch: {difference_cell(change)} points in "
        f"{ratio_cell(time)} of its time ({seeds_words(change.processes)})"
    )
