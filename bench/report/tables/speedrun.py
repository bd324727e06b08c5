"""Speedrun: seconds of training until the test accuracy reaches its target, beside what others have published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.arithmetic import words_of
from bench.report.contents import Contents, common_line
from bench.report.frame import rows_of
from bench.report.groups import Group, training_groups
from bench.report.markdown import ABSENT, bullets, escape, listing, number, percent, plus_minus, table
from bench.report.published import SPEEDRUNS
from bench.report.rows import Row, figure, is_meaningless
from bench.report.seeds import FEW, seeds_words
from bench.report.statistics import Estimate, student
from bench.report.tables.training import group_marks

COMMON = ("machine", "code", "dataset", "image size [px]", "batch size", "device", "threads", "budget")
WORDS = ("model", "recipe", "settings", "marks")
TEXT = f"""\
Seconds of training until the test accuracy, read after each epoch, first reaches the target; reading it, compiling and
warming up are outside the clock. ± is the longer side of the 95 % t interval over the seeds that reached it: of fewer
than {FEW} seeds it tells little, and where some did not, the mean is that of the faster ones. *Test accuracy* is after
the last epoch, ± one standard error. The test images are read to stop the clock, never to choose weights."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How the seeds of one speedrun did."""

    seconds: Estimate | None
    """None where no seed reached the target."""
    seeds: int
    of: int


def section(contents: Contents) -> str:
    groups = training_groups(rows_of(contents.frame, "speedrun"), contents.datasets)
    if not groups:
        return ""
    firsts = [group.first for group in groups]
    own = [name for name in COMMON if len({first[name] for first in firsts}) > 1]
    findings = [line for group in groups if (line := _finding(group))]
    parts = ["## Speedrun", common_line(contents, firsts, COMMON), TEXT, *findings]
    parts += [table([_line(group, own) for group in groups], left=(*WORDS, *own))]
    return "\n\n".join(filter(None, (*parts, f"Published, for comparison:\n\n{bullets(SPEEDRUNS)}")))


def reached(group: Group) -> Reached:
    seconds = [value for row in group.rows if (value := figure(row, "seconds_to_target")) is not None]
    return Reached(seconds=student(seconds) if seconds else None, seeds=len(seconds), of=len(group.rows))


def _line(group: Group, own: Sequence[str]) -> dict[str, str]:
    found, accuracy = reached(group), group.accuracy
    return {
        **{name: str(group.first[name]) for name in own},
        "model": group.first["model"],
        "recipe": group.first["recipe"] or ABSENT,
        "settings": ", ".join(words_of(group.first)),
        "seeds at the target": f"{found.seeds} of {found.of}",
        f"time to {_target(group)} [s] ↓": _seconds(found),
        "epochs to the target ↓": _epochs(group.rows),
        "test accuracy [%] ↑": percent(accuracy.mean, accuracy.standard_error) if accuracy else ABSENT,
        "compile [s] ↓": number(group.first["cold compile [s]"]),
        "marks": "; ".join(group_marks(group)) or ABSENT,
    }


def _target(group: Group) -> str:
    target = figure(group.first, "target_accuracy")
    return "the target" if target is None else f"{100 * target:g} %"


def _seconds(found: Reached) -> str:
    if found.seconds is None:
        return "not reached"
    interval = found.seconds.interval
    return plus_minus(found.seconds.value, interval.error(found.seconds.value) if interval else None)


def _epochs(rows: Sequence[Row]) -> str:
    counts = sorted({round(value) for row in rows if (value := figure(row, "epochs_to_target")) is not None})
    if not counts:
        return ABSENT
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _finding(group: Group) -> str:
    if is_meaningless(group.first):
        return ""
    model, target, found = escape(group.first["model"]), _target(group), reached(group)
    if found.seconds is None:
        why = list(dict.fromkeys(reason for row in group.rows if (reason := _why_not(row))))
        told = f": {escape(listing(why, 2))}" if why else ""
        return f"**{model} reaches {target} in none of {seeds_words(found.of)}{told}.**"
    return (
        f"**{model} reaches {target} after {_seconds(found)} s of training, in {found.seeds} of "
        f"{seeds_words(found.of)}.**"
    )


def _why_not(row: Row) -> str | None:
    reason: str | None = row["absent"].get("figures.seconds_to_target") or row["absent"].get("seconds_to_target")
    return reason
