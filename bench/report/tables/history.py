"""Several runs: the same rows on several machines side by side, and on one machine by time, with its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.report.cells import with_error
from bench.report.contents import Contents, headers, identity_cells, varying
from bench.report.front import slower
from bench.report.language_lines import over
from bench.report.load import Run
from bench.report.markdown import ABSENT, bullets, escape, megabytes, table
from bench.report.rows import IDENTITY, Row, grouped, is_meaningless
from bench.report.tables.overview import cores, machine_name

TIMED = ("inference", "prefill", "decode")
"""Experiments whose times are held against one another."""
SHOWN = ("experiment", "model", "batch size", "precision", "mode")
WORDS = ("experiment", "model", "precision", "mode", "data set", "options", "device", "before", "after", "step")
PLACED = ("machine", "code", "device", "threads")
SAME_CASE = tuple(name for name in IDENTITY if name not in PLACED)
"""What two rows share that measured the same on different machines."""
SAME_ROW = tuple(name for name in IDENTITY if name not in ("machine", "code"))
SIDE_TEXT = """\
Rows that several machines measured, medians of single calls (between two tokens, where a language model decodes).
Machines differ in more than their processor: versions and threads are under
[machine and versions](#machine-and-versions)."""
HISTORY_TEXT = """\
Rows that the same processor and device measured at several versions of code or packages, one after the other. A *step*
is told only where it shows: intervals that do not overlap and, where one process measured a row, a difference of 10 %
(decoding on a CPU: a factor of 2); bytes of weights are exact."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One version of code and packages on one piece of hardware."""

    hardware: tuple[object, ...]
    started: str
    name: str


def side_by_side(contents: Contents) -> str:
    """Empty unless two machines measured the same case."""
    if len({_hardware_of(run) for run in contents.runs}) < 2:
        return ""
    hardware = _hardware(contents)
    lines: list[dict[str, Row]] = []
    for members in grouped(_timed(contents), SAME_CASE).values():
        latest = {(hardware[row["machine"]], row["device"]): row for row in members}
        if len({place for place, _ in latest}) > 1:
            lines.append({f"{row['machine']} {row['device']}": row for row in latest.values()})
    if not lines:
        return ""
    firsts = [next(iter(line.values())) for line in lines]
    columns = _columns(firsts)
    places = sorted({place for line in lines for place in line})
    cells = [
        {**identity_cells(first, columns), **{f"{place}, p50 [ms] ↓": _median(line.get(place)) for place in places}}
        for first, line in zip(firsts, lines, strict=True)
    ]
    made = table(cells, left=WORDS, key=headers(columns))
    return "\n\n".join(("## Machines side by side", bullets(_machines(contents)), SIDE_TEXT, made))


def history(contents: Contents) -> str:
    """Empty unless one machine measured the same row at several versions."""
    if len(contents.runs) < 2:
        return ""
    chains = _chains(contents)
    if not chains:
        return ""
    pairs = [pair for chain in chains for pair in pairwise(chain)]
    told = [(before, after, step) for before, after in pairs if (step := _step(before[1], after[1]))]
    columns = _columns([row for (_, row), _, _ in told]) if told else []
    cells = [
        {
            **identity_cells(after[1], columns),
            "before": before[0].name,
            "after": after[0].name,
            "p50 before [ms]": _median(before[1]),
            "p50 after [ms] ↓": _median(after[1]),
            "step": step,
        }
        for before, after, step in told
    ]
    count = f"Rows measured at more than one version: {len(chains)}. Steps: {len(told)}, in {len(pairs)} changes."
    made = table(cells, left=WORDS, key=headers(columns)) if cells else ""
    return "\n\n".join(filter(None, ("## History", HISTORY_TEXT, count, made)))


def _chains(contents: Contents) -> list[list[tuple[Moment, Row]]]:
    """The versions of each row on each piece of hardware, by time; only rows that have several."""
    rows = _timed(contents)
    moments = _moments(contents, rows)
    found: dict[tuple[object, ...], list[tuple[Moment, Row]]] = {}
    for key, members in grouped(rows, SAME_ROW).items():
        for row in members:
            moment = moments[_place(row)]
            found.setdefault((*key, moment.hardware), []).append((moment, row))
    return [sorted(chain, key=lambda pair: pair[0].started) for chain in found.values() if len(chain) > 1]


def _columns(rows: Sequence[Row]) -> list[str]:
    return [*SHOWN, *(name for name in varying(rows, SHOWN) if name not in PLACED)]


def _median(row: Row | None) -> str:
    return ABSENT if row is None else with_error(row, "median", scale=1e3)


def _timed(contents: Contents) -> list[Row]:
    spoken = {id(row): row for group in contents.languages for row in group.rows if row["experiment"] in TIMED}
    return [row for row in (*contents.inferences, *spoken.values()) if not is_meaningless(row)]


def _place(row: Row) -> tuple[str, str | None, str]:
    return row["machine"], row["code"], row["dataset"]


def _hardware_of(run: Run) -> tuple[object, ...]:
    machine = run.machine
    return machine.cpu, machine.cores, machine.device, machine.device_name


def _hardware(contents: Contents) -> dict[str, tuple[object, ...]]:
    return {contents.names.machine(run): _hardware_of(run) for run in contents.runs}


def _moments(contents: Contents, rows: Sequence[Row]) -> dict[tuple[str, str | None, str], Moment]:
    """By what `_place` gives: the earliest run of each."""
    found: dict[tuple[str, str | None, str], Moment] = {}
    datasets = {row["dataset"] for row in rows}
    for run in sorted(contents.runs, key=lambda run: run.started):
        machine = contents.names.machine(run)
        for dataset in datasets:
            code = contents.names.codes.get((run.label, dataset))
            name = f"{run.started[:10] or 'no date'} {run.commit or 'no commit'} ({machine})"
            found.setdefault(
                (machine, code, dataset), Moment(hardware=_hardware_of(run), started=run.started, name=name)
            )
    return found


def _step(before: Row, after: Row) -> str:
    """What changed, in words; empty where nothing shows."""
    told = []
    if before["experiment"] == "inference":
        direction = "slower" if slower(before, after) else "faster" if slower(after, before) else ""
    else:
        direction = {"above": "faster", "below": "slower"}.get(over(after, before)[1], "")
    if direction:
        told.append(f"{direction}, {before['median [s]'] / after['median [s]']:.2f} ×")
    sizes = before["weights [B]"], after["weights [B]"]
    if None not in sizes and sizes[0] != sizes[1]:
        told.append(f"weights {megabytes(sizes[0])} to {megabytes(sizes[1])} MB")
    return "; ".join(told)


def _machines(contents: Contents) -> list[str]:
    machines = {contents.names.machine(run): run.machine for run in contents.runs}
    return [f"{name}: {escape(machine_name(machine))}, {cores(machine)}" for name, machine in machines.items()]
