"""Machine, noise and data: what every figure has to be read with; several runs side by side and by time."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.core.records import Machine
from bench.report.columns import words
from bench.report.content import MOST_ROWS, Content
from bench.report.formats import listing, number, per_cent
from bench.report.load import DatasetFacts, Run
from bench.report.pairing import clearly_slower, noise_ratios
from bench.report.parts import (
    Column,
    Fold,
    Part,
    Picture,
    Pictures,
    Quantity,
    Section,
    Table,
    Value,
    bullets,
    paragraph,
)
from bench.report.results import Result, grouped, order
from bench.report.statistics import Estimate

TIMED = ("inference", "prefill", "decode")
"""Experiments whose times are compared across runs."""
_PNG = b"\x89PNG\r\n\x1a\n"
FACTS: tuple[tuple[str, Callable[[Machine], object]], ...] = (
    ("device", lambda machine: f"{machine.device}: {machine.device_name}"),
    ("capability", lambda machine: machine.capability),
    ("device memory, GB", lambda machine: _gigabytes(machine.device_memory_bytes)),
    ("CPU", lambda machine: machine.cpu),
    ("cores", lambda machine: machine.cores),
    ("memory, GB", lambda machine: _gigabytes(machine.memory_bytes)),
    ("CPU features", lambda machine: " ".join(machine.cpu_features)),
    ("platform", lambda machine: machine.platform),
    ("Python", lambda machine: machine.python),
    ("driver", lambda machine: machine.driver),
    ("CUDA", lambda machine: machine.cuda),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    name: str
    values: tuple[str, ...]
    """One a machine."""


def machine_section(content: Content) -> Section:
    """Noise and ceilings first, then machine, files and data."""
    parts: list[Part] = [*_noise(content), *_ceilings(content)]
    parts += [Section(title="Machine and versions", parts=(_facts(content), _files(content)))]
    parts += _data(content)
    parts += [section for section in (_side_by_side(content), _history(content)) if section]
    return Section(title="Machine and noise", parts=tuple(parts))


def _noise(content: Content) -> list[Part]:
    """Distances between two measurements of one thing on this machine."""
    lines = []
    for twin in content.twins:
        ratio = twin.beside.ratio
        if ratio is None:
            continue
        shown = Quantity(name="", digits=4).text(ratio.estimate)
        lines.append(f"{twin.case.model}, batch {twin.case.batch_size}: the reference named twice, {shown} × itself")
    for first, apart in noise_ratios(content.results):
        spread = per_cent(apart) if apart < 1 else f"a factor of {number(1 + apart, 2)}"
        lines.append(
            f"{first.case.model}, batch {first.case.batch_size}: two processes of one thing came up to {spread} apart"
        )
    marked = [one for one in content.results if one.disturbed and not one.meaningless]
    if marked:
        slow = sum("slow phase" in (one.disturbed or "") for one in marked)
        lines.append(f"{len(marked)} of {len(content.results)} rows were disturbed, {slow} of them by a slow phase")
    return [bullets([f"{line}." for line in lines])] if lines else [paragraph("No noise was measured in this run.")]


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    name: str
    value: float
    unit: str
    machine: str


def _ceilings(content: Content) -> list[Part]:
    rows = [
        Ceiling(
            name="memory bandwidth" if name == "bandwidth" else f"{name.removeprefix('product_')} products",
            value=figure.value / 1e9,
            unit="GB/s" if name == "bandwidth" else "GFLOP/s",
            machine=one.machine,
        )
        for one in content.of("ceilings")
        for name, figure in one.first.figures.items()
        if name == "bandwidth" or (name.startswith("product_") and "_work" not in name)
    ]
    if not rows:
        return []
    table: Table[Ceiling] = Table(
        columns=(
            words("machine", lambda row: row.machine, rank=2),
            words("ceiling", lambda row: row.name),
            Column(quantity=Quantity(name="reached"), value=lambda row: row.value),
            words("unit", lambda row: row.unit),
        ),
        rows=tuple(rows),
    )
    text = "What the machine was measured to do; of limit is the share of it that a row reaches."
    return [Section(title="Ceilings", parts=(paragraph(text), table))]


def _facts(content: Content) -> Table[Fact]:
    machines = {content.names.machine(run): run.machine for run in content.runs}
    packages = sorted({package for machine in machines.values() for package in machine.versions})
    rows = [Fact(name=name, values=tuple(_text(fact(one)) for one in machines.values())) for name, fact in FACTS]
    rows += [
        Fact(name=package, values=tuple(_text(one.versions.get(package)) for one in machines.values()))
        for package in packages
    ]
    columns = [words(name, _value_at(place)) for place, name in enumerate(list(machines)[:8])]
    return Table(
        columns=(words("", lambda row: row.name), *columns), rows=tuple(row for row in rows if any(row.values))
    )


def _value_at(place: int) -> Callable[[Fact], str]:
    return lambda row: row.values[place]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _gigabytes(size: int | None) -> str:
    return "" if size is None else number(size / 1e9)


def _files(content: Content) -> Fold:
    seconds = Quantity(name="wall", unit="s")
    table: Table[Run] = Table(
        columns=(
            words("file", lambda run: run.label),
            words("machine", lambda run: content.names.machine(run), rank=2),
            words("started", lambda run: run.started),
            Column(quantity=seconds, value=lambda run: run.seconds),
            Column(
                quantity=Quantity(name="worker time", unit="s"),
                value=lambda run: math.fsum(run.case_seconds.values()) or None,
            ),
            Column(quantity=Quantity(name="measured", digits=1), value=lambda run: len(run.measurements)),
            Column(quantity=Quantity(name="resumed", digits=1), value=lambda run: run.resumed or None),
            words("commit", lambda run: run.commit),
            words("command", lambda run: run.command),
        ),
        rows=content.runs[:MOST_ROWS],
    )
    left_out = [f"{run.label}: {run.deselected} cases left out by selection" for run in content.runs if run.deselected]
    left_out += [f"{run.label}: {run.foreign} benchmarks of others left out" for run in content.runs if run.foreign]
    return Fold(title="Files and commands", parts=(table, *([bullets(left_out)] if left_out else [])))


def _data(content: Content) -> list[Part]:
    if not content.datasets:
        return []
    table: Table[DatasetFacts] = Table(
        columns=(
            words("data set", lambda item: item.name),
            words(
                "classes", lambda item: f"{len(item.classes)}: {listing(item.classes, most=12)}" if item.classes else ""
            ),
            Column(quantity=Quantity(name="training images"), value=lambda item: item.train_images),
            Column(quantity=Quantity(name="held out"), value=lambda item: item.held_out),
            Column(quantity=Quantity(name="test images"), value=lambda item: item.test_images),
            words("mean (R, G, B)", lambda item: _triple(item.mean, item.usual_mean)),
            words("deviation (R, G, B)", lambda item: _triple(item.std, item.usual_std)),
            words("digest", lambda item: item.digest),
        ),
        rows=content.datasets,
    )
    pictures = [
        Picture(file=f"augmented-{place + 1}.png", content=png, text=f"nine augmented training images of {item.name}")
        for place, item in enumerate(content.datasets[:4])
        if (png := _png(item.augmented_png or ""))
    ]
    text = "Statistics of the training images' channels; the notes' constants, CIFAR-10's, in brackets."
    return [Section(title="Data", parts=(paragraph(text), table, Pictures(tuple(pictures))))]


def _triple(values: Sequence[float] | None, usual: Sequence[float] | None) -> str:
    if values is None:
        return ""
    numbers = ", ".join(f"{value:.4f}" for value in values)
    return f"{numbers} ({', '.join(f'{value:.4f}' for value in usual)})" if usual else numbers


def _png(text: str) -> bytes | None:
    """Bytes of a PNG in base64; None for anything else."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return content if content.startswith(_PNG) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Across:
    """One case on several machines, or at two versions."""

    results: dict[str, Result]
    step: str = ""

    @property
    def first(self) -> Result:
        return next(iter(self.results.values()))


def _named_columns() -> tuple[Column[Across], ...]:
    return (
        words("experiment", lambda one: one.first.case.experiment, rank=2),
        words("model", lambda one: one.first.case.model),
        words("route", lambda one: one.first.route.name),
        Column(quantity=Quantity(name="batch", digits=1), value=lambda one: one.first.case.batch_size, rank=2),
    )


def _median(result: Result | None) -> Value:
    return None if result is None else Estimate(value=result.timing.median, interval=result.timing.interval)


def _hardware(content: Content) -> dict[str, tuple[object, ...]]:
    return {
        content.names.machine(run): (run.machine.cpu, run.machine.cores, run.machine.device, run.machine.device_name)
        for run in content.runs
    }


def _timed(content: Content) -> list[Result]:
    return [one for name in TIMED for one in content.of(name) if not one.meaningless]


def _side_by_side(content: Content) -> Section | None:
    """Medians of the same rows on several machines."""
    hardware = _hardware(content)
    if len(set(hardware.values())) < 2:
        return None
    rows = []
    for members in grouped(_timed(content), _same_case).values():
        latest = {f"{one.machine} {one.case.device}": one for one in members}
        if len({hardware[one.machine] for one in latest.values()}) > 1:
            rows.append(Across(results=latest))
    if not rows:
        return None
    places = sorted({place for row in rows for place in row.results})[:5]
    columns = [
        Column(
            quantity=Quantity(name=place, unit="ms", scale=1e3, better="lower"),
            value=lambda one, place=place: _median(one.results.get(place)),  # type: ignore[misc]
        )
        for place in places
    ]
    table: Table[Across] = Table(columns=(*_named_columns(), *columns), rows=tuple(rows[:MOST_ROWS]))
    return Section(title="Machines side by side", parts=(paragraph("Medians; versions are above."), table))


def _history(content: Content) -> Section | None:
    """Steps of rows that one machine measured at several versions."""
    if len(content.runs) < 2:
        return None
    started = {(content.names.machine(run), run.label): run for run in content.runs}
    moments = _moments(content)
    hardware = _hardware(content)
    chains = []
    for members in grouped(_timed(content), lambda one: (*_same_case(one), hardware[one.machine])).values():
        distinct = {moments.get((one.machine, one.code, one.dataset), ""): one for one in members}
        if len(distinct) > 1:
            chains.append(sorted(distinct.items(), key=lambda pair: pair[0]))
    if not chains or not started:
        return None
    pairs = [pair for chain in chains for pair in pairwise(chain)]
    steps = [
        Across(results={"before": before[1], "after": after[1]}, step=step)
        for before, after in pairs
        if (step := _step(before[1], after[1]))
    ]
    when = {id(after[1]): (before[0], after[0]) for before, after in pairs}
    table: Table[Across] = Table(
        columns=(
            *_named_columns(),
            words("from", lambda one: when[id(one.results["after"])][0]),
            words("to", lambda one: when[id(one.results["after"])][1]),
            words("step", lambda one: one.step),
        ),
        rows=tuple(sorted(steps, key=lambda one: order(one.first))[:MOST_ROWS]),
    )
    count = (
        f"Rows measured at more than one version: {len(chains)}. Clear steps: {len(steps)}, in {len(pairs)} changes."
    )
    return Section(title="History", parts=(paragraph(count), table))


def _same_case(result: Result) -> tuple[object, ...]:
    case = result.case
    what = (case.experiment, case.model, result.dataset, case.image_size, case.seed, case.budget)
    return (*what, result.route, case.batch_size, case.options)


def _moments(content: Content) -> dict[tuple[str, str | None, str], str]:
    """Day, commit and machine by machine, code and data set: of the earliest run of each."""
    found: dict[tuple[str, str | None, str], str] = {}
    datasets = {one.dataset for one in content.results}
    for run in sorted(content.runs, key=lambda run: run.started):
        machine = content.names.machine(run)
        for dataset in datasets:
            code = content.names.codes.get((run.label, dataset))
            name = f"{run.started[:16] or 'no date'} {run.commit or 'no commit'} ({machine})"
            found.setdefault((machine, code, dataset), name)
    return found


def _step(before: Result, after: Result) -> str:
    """Clear changes, in words; empty where there is none."""
    changes = []
    direction = "slower" if clearly_slower(before, after) else "faster" if clearly_slower(after, before) else ""
    if direction:
        changes.append(f"{direction}, {before.timing.median / after.timing.median:.2f} ×")
    sizes = before.weight_bytes, after.weight_bytes
    if sizes[0] is not None and sizes[1] is not None and sizes[0] != sizes[1]:
        changes.append(f"weights {sizes[0] / 1e6:.3g} to {sizes[1] / 1e6:.3g} MB")
    return "; ".join(changes)
