"""Inference: one row for each network, image size, batch size, precision and mode, in two tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.report.contents import Contents, common_line, identity_cells, varying
from bench.report.frame import PEAKS, Row, figure, one_accuracy
from bench.report.markdown import ABSENT, integer, megabytes, number, percent, plus_minus, table
from bench.report.statistics import P95_SAMPLES, Interval, quantile_interval

SHOWN = ("model", "image size [px]", "batch size", "precision", "mode")
COMMON = ("machine", "code", "recipe", "dataset", "device", "threads", "seed", "budget")
WORDS = ("model", "precision", "mode", "recipe", "data set", "marks", "machine", "code", "device", "budget", "options")
PEAK_NAMES = {
    "rss": "process",
    "cuda_allocated": "CUDA allocated",
    "cuda_reserved": "CUDA reserved",
    "device_process": "process on device",
}
ACCURACY = "accuracy [%] ↑"
LATENCY_TEXT = f"""\
**Latency and accuracy.** One synchronised call a sample: median (p50) and, from {P95_SAMPLES} samples on, 95th
percentile; ± is the longer side of the 95 % interval, and is missing where samples are too few for one. Throughput
comes from blocks of calls, device time (on CUDA) from events around each call. Speed-up is the median latency of fp32
eager, at the same batch size, over that of the row, with the widest ± that the two intervals allow. Accuracy is on the
test images, ± one standard error; *not trained* stands where the network has no weights worth judging."""
MEMORY_TEXT = """\
**Memory and first use.** MB are 10^6 bytes, one FLOP is an addition or a multiplication. Weights as they lie in memory,
and as a file. The steady peak of the process is what one step adds to it; a peak that CUDA allocated includes weights
and images. The peak while loading is apart. Cold times are those of the first process, with an empty compiler cache:
each happens once, and has no ±. The first step includes compiling."""


def section(contents: Contents) -> str:
    rows = contents.inferences
    if not rows:
        return ""
    columns = [*SHOWN, *varying(rows, SHOWN)]
    several_precisions = any(row["precision"] != "fp32" for row in rows)
    parts = (
        "## Inference",
        common_line(contents, rows, [name for name in COMMON if name not in columns]),
        LATENCY_TEXT,
        table([_latency(row, columns, several_precisions) for row in rows], left=WORDS, keep=(ACCURACY,)),
        MEMORY_TEXT,
        table([_memory(row, columns) for row in rows], left=WORDS),
    )
    return "\n\n".join(filter(None, parts))


def marks(row: Row) -> list[str]:
    """What a reader must know before trusting the row."""
    found = [f"unstable: {row['unstable']}"] if row["unstable"] else []
    if figure(row, "criterion_met") == 0:
        found.append("criterion not met")
    if row["repeats differ in"]:
        found.append(f"repeats differ in {row['repeats differ in']}")
    return found


def with_error(row: Row, name: str, unit: str = "s", scale: float = 1.0) -> str:
    """A quantity of the frame with what its interval leaves open."""
    value, low, high = (row[f"{name}{end} [{unit}]"] for end in ("", " from", " to"))
    error = None if None in (value, low, high) else Interval(low=low, high=high).error(value)
    return plus_minus(value, error, scale)


def _latency(row: Row, columns: Sequence[str], several_precisions: bool) -> dict[str, str]:
    energy = row["energy [J/item]"]
    return {
        **identity_cells(row, columns),
        "p50 [ms] ↓": with_error(row, "median", scale=1e3),
        "p95 [ms] ↓": with_error(row, "p95", scale=1e3),
        "device, p50 [ms] ↓": with_error(row, "device median", scale=1e3),
        "throughput [images/s] ↑": _throughput(row),
        "speed-up over fp32 eager [×] ↑": _speed_up(row, "eager"),
        "speed-up over fp32, same mode [×] ↑": _speed_up(row, "same mode") if several_precisions else ABSENT,
        ACCURACY: _accuracy(row),
        "quantised parameters [%]": _share(row["quantised parameters [1]"]),
        "quantised FLOPs [%]": _share(row["quantised FLOPs [1]"]),
        "energy [mJ/image] ↓": number(None if energy is None else energy * 1e3),
        "samples": integer(row["samples"]),
        "processes": str(row["repeats"]),
        "marks": "; ".join(marks(row)) or ABSENT,
    }


def _throughput(row: Row) -> str:
    """From the median block, as the experiment counted it; the interval is that of the blocks."""
    value, blocks = figure(row, "throughput"), row["series"].get("block_seconds", ())
    interval = quantile_interval(blocks)
    if value is None or interval is None:
        return number(value)
    median = statistics.median(blocks)
    return plus_minus(value, value * interval.error(median) / median)


def _speed_up(row: Row, baseline: str) -> str:
    if row["precision"] == "fp32" and (row["mode"] == "eager" or baseline == "same mode"):
        return "baseline"
    return with_error(row, f"speed-up over fp32 {baseline}", "1")


def _accuracy(row: Row) -> str:
    share = one_accuracy(row)
    if share is not None:
        return percent(share, row["quality standard error [1]"])
    return "not trained" if "train" in row["absent"].get("quality", "").lower() else ABSENT


def _share(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.1f}"


def _memory(row: Row, columns: Sequence[str]) -> dict[str, str]:
    peaks = {f"{phase} peak, {PEAK_NAMES[kind]} [MB] ↓": megabytes(row[column]) for phase, kind, column in PEAKS}
    operations = figure(row, "flops_per_image")
    return {
        **identity_cells(row, columns),
        "parameters": integer(figure(row, "parameters")),
        "MFLOP/image": number(None if operations is None else operations / 1e6),
        "weights [MB] ↓": megabytes(row["weights [B]"]),
        "serialised [MB] ↓": megabytes(row["serialised [B]"]),
        **peaks,
        "load [s] ↓": number(row["cold load [s]"]),
        "convert [s] ↓": number(row["cold convert [s]"]),
        "compile [s] ↓": number(row["cold compile [s]"]),
        "first step [s] ↓": number(row["cold first step [s]"]),
        "graph breaks ↓": integer(figure(row, "graph_breaks")),
    }
