"""One tidy pandas frame from any number of runs: one row a case, repeats joined, units in the column names."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.core.records import Case, Failure, Figure, Measurement, Scalar, digest_of, to_json
from bench.report.disturbance import disturbances
from bench.report.limits import add_limits
from bench.report.load import Run
from bench.report.names import Names, names_of
from bench.report.noise import add_noise
from bench.report.pace import Paces, paces_of
from bench.report.pairs import add_pairs
from bench.report.rows import IDENTITY, PEAKS, Row, ends, identity, rate_of, sort_key
from bench.report.statistics import Estimate, summarise

RECORDS = ("timing", "rate", "fewest processes", "processes", "measurements", "settings", "figures", "series", "texts")
"""Columns that hold records for the tables. measurements.csv has figures as columns of their own, and no other."""
TEXTS = ("absent", "flags", "notes")
"""Columns that are JSON in measurements.csv."""


def tidy(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each case that was measured, sorted; repeats and the same case of several files are joined.

    Rows of different machines, versions, code or data are never joined. Absent values are None or NaN, never 0.
    """
    names = names_of(runs)
    joined: dict[tuple[str, str, str, Case], list[tuple[Run, Measurement]]] = {}
    for run in runs:
        for measurement in run.measurements:
            case = measurement.case
            # As `Case.row`, without hashing the JSON of every case.
            row = case if case.repeat == 0 else dataclasses.replace(case, repeat=0)
            key = (names.machine(run), run.code or "", names.dataset(run, case.dataset), row)
            joined.setdefault(key, []).append((run, measurement))
    paces = _paces(names, runs)
    rows = [_row(key[-1].id, names, _distinct(group), paces[key[0]]) for key, group in joined.items()]
    add_pairs(rows, runs)
    add_limits(rows)
    add_noise(rows)
    columns = list(rows[0]) if rows else [*IDENTITY, *RECORDS, *TEXTS]
    ordered: list[Any] = sorted(rows, key=sort_key)
    return pd.DataFrame(ordered, columns=columns, dtype=object)


def rows_of(frame: pd.DataFrame, experiment: str) -> list[Row]:
    """The rows of one experiment, with None for what is absent."""
    return _rows_at(frame, [place for place, name in enumerate(frame["experiment"]) if name == experiment])


def rows_without(frame: pd.DataFrame, experiments: Collection[str]) -> list[Row]:
    """The rows of all other experiments."""
    return _rows_at(frame, [place for place, name in enumerate(frame["experiment"]) if name not in experiments])


def _rows_at(frame: pd.DataFrame, places: Sequence[int]) -> list[Row]:
    if not places:
        return []
    chosen = frame.iloc[list(places)]
    names = [str(name) for name in chosen.columns]
    return [dict(zip(names, values, strict=True)) for values in chosen.itertuples(index=False, name=None)]


def sorted_failures(runs: Sequence[Run]) -> list[tuple[Row, Failure]]:
    """Every failure once, beside the identity of its case."""
    names = names_of(runs)
    found = {
        (names.machine(run), run.code, failure): identity(failure.case, run, names)
        for run in runs
        for failure in run.failures
    }
    pairs = [(row, failure) for (_, _, failure), row in found.items()]
    return sorted(pairs, key=lambda pair: (sort_key(pair[0]), pair[1].case.repeat, pair[1].kind, pair[1].message))


def _distinct(group: Iterable[tuple[Run, Measurement]]) -> list[tuple[Run, Measurement]]:
    """Without copies: a resumed run, or the same file under two names, holds the same samples twice."""
    seen = {(measurement.case.repeat, measurement.seconds): (run, measurement) for run, measurement in group}
    return sorted(seen.values(), key=lambda pair: pair[1].case.repeat)


def _paces(names: Names, runs: Sequence[Run]) -> dict[str, Paces]:
    """By machine."""
    measured: dict[str, list[Measurement]] = {}
    for run in runs:
        measured.setdefault(names.machine(run), []).extend(run.measurements)
    return {machine: paces_of(measurements) for machine, measurements in measured.items()}


def _row(digest: str, names: Names, group: Sequence[tuple[Run, Measurement]], paces: Paces) -> Row:
    """All repeats speak for times, throughput and energy, the highest of them for peaks; repeat 0 for what is measured
    once (cold figures, quality)."""
    run, first = group[0]
    repeats = [measurement for _, measurement in group]
    rate = rate_of(repeats)
    return {
        **identity(first.case, run, names),
        "row": digest,
        "width": first.case.option("width"),
        "repeats": len(repeats),
        **_times(repeats),
        "rate": rate,
        "fewest processes": {},  # of a ratio's two rows, by the ratio's name: filled where rows are paired
        **_sizes(repeats),
        **{f"cold {name} [s]".replace("_", " "): value for name, value in vars(first.cold).items()},
        **_quality(first),
        "energy [J/item]": _energy(repeats),
        "worker time [s]": _worker_seconds(digest, group),
        "disturbed": disturbances(repeats, run.machine.cores, paces),
        "repeats differ in": ", ".join(_differences(repeats)) or None,
        "measurements": tuple(repeats),
        "settings": dict(first.case.options),
        "figures": _figures(repeats, rate),
        "series": first.series,
        "texts": first.texts,
        "absent": first.absent,
        "flags": first.flags,
        "notes": tuple(dict.fromkeys(note for repeat in repeats for note in repeat.notes)),
    }


def _times(repeats: Sequence[Measurement]) -> Row:
    timing = summarise([repeat.seconds for repeat in repeats])
    device = [repeat.device_seconds for repeat in repeats if repeat.device_seconds]
    on_device = summarise(device) if device else None
    return {
        "timing": timing,
        "processes": [repeat.seconds for repeat in repeats],
        "samples": timing.samples,
        "median [s]": timing.median,
        **ends("median", timing.interval),
        "p95 [s]": timing.p95,
        **ends("p95", timing.p95_interval),
        "mean [s]": timing.mean,
        "standard deviation [s]": timing.deviation,
        "relative standard error [1]": timing.relative_standard_error,
        "unstable": timing.unstable,
        "device median [s]": on_device.median if on_device else None,
        **ends("device median", on_device.interval if on_device else None),
        "items per step": repeats[0].items_per_step,
    }


def _energy(repeats: Sequence[Measurement]) -> float | None:
    """The median over processes, as far as they have it."""
    told = [repeat.energy_joules_per_item for repeat in repeats if repeat.energy_joules_per_item is not None]
    return statistics.median(told) if told else None


def _figures(repeats: Sequence[Measurement], rate: Estimate | None) -> Mapping[str, Figure]:
    """Those of repeat 0, but for those that go by all processes: throughput, and whether sampling met its criterion."""
    if len(repeats) == 1:
        return repeats[0].figures
    found = dict(repeats[0].figures)
    if rate is not None and "throughput" in found:
        found["throughput"] = dataclasses.replace(found["throughput"], value=rate.value)
    if "criterion_met" in found:
        met = [repeat.figures["criterion_met"] for repeat in repeats if "criterion_met" in repeat.figures]
        found["criterion_met"] = min(met, key=lambda figure: figure.value)
    return found


def _sizes(repeats: Sequence[Measurement]) -> Row:
    first = repeats[0]
    peaks: dict[tuple[str, str], int] = {}
    for peak in (peak for repeat in repeats for peak in repeat.peaks):
        peaks[peak.phase, peak.kind] = max(peak.bytes, peaks.get((peak.phase, peak.kind), 0))
    covered = first.coverage
    return {
        "weights [B]": first.weight_bytes,
        "serialised [B]": first.serialized_bytes,
        **{column: peaks.get((phase, kind)) for phase, kind, column in PEAKS},
        "converted parameters [1]": _share(covered.quantized_parameters, covered.total_parameters) if covered else None,
        "converted FLOPs [1]": _share(covered.quantized_flops, covered.total_flops) if covered else None,
    }


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole else None


def _quality(first: Measurement) -> Row:
    quality = first.quality
    predictions = quality.predictions if quality else None
    return {
        "quality metric": quality.metric if quality else None,
        "quality [1]": quality.value if quality else None,
        "quality standard error [1]": quality.standard_error if quality else None,
        "quality samples": quality.samples if quality else None,
        "predictions sha256": predictions.sha256 if predictions else None,
        "artefact": first.artefact,
    }


def _worker_seconds(digest: str, group: Sequence[tuple[Run, Measurement]]) -> float | None:
    cases = [(run, measurement.case) for run, measurement in group if run.case_seconds]
    seconds = [run.case_seconds.get(case.id if case.repeat else digest) for run, case in cases]
    known = [second for second in seconds if second is not None]
    return sum(known) if known else None


def _differences(repeats: Sequence[Measurement]) -> list[str]:
    """What repeats of one case ought to agree in, and do not."""
    if len(repeats) == 1:
        return []
    facts: list[dict[str, Scalar]] = [_exact(repeat) for repeat in repeats]
    return [name for name in facts[0] if len({fact.get(name) for fact in facts}) > 1]


def _exact(measurement: Measurement) -> dict[str, Scalar]:
    return {
        "weights": measurement.weight_bytes,
        "serialised size": measurement.serialized_bytes,
        "quality": measurement.quality.value if measurement.quality else None,
        "flags": digest_of(to_json(measurement.flags)),
        **{name: figure.value for name, figure in measurement.figures.items() if figure.exact},
    }
