"""Inference: what the rows show, then each network's tables: the main figures, the times, and fp32 beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from bench.report.best import best_of, least, most_accurate, shortest
from bench.report.cells import (
    BASELINE,
    HARDLY_CONVERTED,
    accuracy_cell,
    limit_cell,
    marks,
    scaled,
    speed_up_cell,
    throughput_cell,
    with_error,
)
from bench.report.contents import Contents, common_line, headers, identity_cells, varying
from bench.report.front import SURE
from bench.report.markdown import (
    ABSENT,
    bullets,
    escape,
    integer,
    megabytes,
    percent,
    points,
    probability,
    small_percent,
    table,
)
from bench.report.pairs import AGREEMENT
from bench.report.rows import BASELINES, HARDLY, IDENTITY, Row, grouped
from bench.report.statistics import P95_SAMPLES
from bench.report.tables import detail, findings, inference_pictures

NETWORK = ("model", "image size [px]")
SHOWN = ("batch size", "precision", "mode")
COMMON = ("machine", "code", "recipe", "dataset", "device", "threads", "seed", "budget")
ACCURACY = "accuracy [%] ↑"
TEXT = """\
Three tables a network: the main figures, the times in detail, and what the precision did beside fp32. ± of a latency is
the longer side of its 95 % interval, and is missing where samples are too few for one; ± of an accuracy is one standard
error."""
ALWAYS = (
    "*p50* is the median of single calls, synchronised with the device at both ends; *throughput* comes from blocks of "
    f"calls. The 95th percentile is given from {P95_SAMPLES} samples on. Device time, on CUDA, is between events "
    "around each call. *Samples* are those of all *processes* together; those of one are not independent.",
    "*Speed-up over fp32 eager* is its median latency at the same batch size over that of the row, with the widest "
    "range that the two intervals allow in brackets: the whole gain, compiling included.",
    "*Accuracy* is on the test images; *not trained* stands where the network has no weights worth judging.",
    "*Weights* as they lie in memory; MB are 10^6 bytes. The *steady peak* of the process is what one step adds to it; "
    "one that CUDA allocated includes weights and images.",
    "**Bold** is the best of its batch size where every other row there is told apart from it: latencies by their "
    f"intervals, accuracies by {SURE} standard errors, bytes exactly. Without bold nothing can be told apart.",
)
LIMITED = ("*Share of limit* is explained under [what the machine can do](#what-the-machine-can-do).",)
PAIRED = (
    "*Change* is the accuracy less that of fp32 eager (compiled, where there is no eager row) with the same weights on "
    "the images that both judged, ± its paired standard error. *Agreement* is the share of these images that both "
    "label alike, rightly or wrongly, ± one standard error.",
    "*McNemar p* is how likely so uneven a split of the images that only one of the two labels rightly would be if "
    "neither were better (exact, two-sided). A large p is no proof that nothing has changed.",
)
SEVERAL = (
    "*Speed-up over fp32, same mode* compares with fp32 in the mode of the row: what the precision does, without what "
    "compiling does.",
    "*Parameters converted* are stored in the row's low precision, *FLOPs converted* multiplied in it: 16 bits for "
    "16-bit precisions, else 8 or fewer. Weight-only precisions store low and multiply in floating point.",
    f"*{HARDLY_CONVERTED.capitalize()}* marks rows below {100 * HARDLY:.0f} % of both: nearly all of the network is as "
    "it was, whatever the row's name says, and no general statement of this report counts the row.",
)


def section(contents: Contents) -> str:
    rows = contents.inferences
    if not rows:
        return ""
    precisions = any(row["precision"] != BASELINES[0] for row in rows)
    limited = any(row["share of limit [1]"] is not None for row in rows)
    legend = (*ALWAYS, *(LIMITED if limited else ()), *(PAIRED if _any_pair(rows) else ()))
    legend += SEVERAL if precisions else ()
    shown = findings.inferences(contents)
    parts = ["## Inference", *(("**What the rows show**", bullets(shown)) if shown else ())]
    parts += [*inference_pictures.parts(contents), common_line(contents, rows, COMMON), TEXT, bullets(legend)]
    particular = [name for name in COMMON if len({row[name] for row in rows}) > 1]
    networks = grouped(rows, NETWORK)
    several = Counter(str(model) for model, _ in networks)
    for (model, size), members in networks.items():
        title = f"### {escape(str(model))}{f', {size} px' if several[str(model)] > 1 else ''}"
        parts += [title, common_line(contents, members, particular), *_tables(members)]
    parts += detail.parts(rows)
    return "\n\n".join(filter(None, parts))


def _tables(rows: Sequence[Row]) -> list[str]:
    """Of one network."""
    columns = [*SHOWN, *(name for name in varying(rows, (*NETWORK, *SHOWN)))]
    alone = [name for name in columns if name != "batch size"]
    once = [members[0] for members in grouped(rows, [name for name in IDENTITY if name != "batch size"]).values()]
    return [
        table(_main(rows, columns), left=detail.WORDS, keep=(ACCURACY,), key=headers(columns)),
        table(_times(rows, columns), left=detail.WORDS, key=headers(columns)),
        *_beside(once, alone, rows),
    ]


def _main(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, str]]:
    precisions = any(row["precision"] != BASELINES[0] for row in rows)
    times, sizes, judged = (
        _bold(rows, pick, columns) for pick in (lambda some: shortest(some, "median"), least, most_accurate)
    )
    return [
        {
            **identity_cells(row, columns),
            "p50 [ms] ↓": times(row, with_error(row, "median", scale=1e3)),
            "speed-up over fp32, same mode [×] ↑": speed_up_cell(row, "same mode") if precisions else ABSENT,
            ACCURACY: judged(row, accuracy_cell(row)),
            "weights [MB] ↓": sizes(row, megabytes(row["weights [B]"])),
            "steady peak, process [MB] ↓": megabytes(row["steady peak, rss [B]"]),
            "steady peak, CUDA allocated [MB] ↓": megabytes(row["steady peak, cuda allocated [B]"]),
            "marks": "; ".join(marks(row)) or ABSENT,
        }
        for row in rows
    ]


def _times(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, str]]:
    fastest = _bold(rows, lambda some: shortest(some, "p95"), columns)
    return [
        {
            **identity_cells(row, columns),
            "p95 [ms] ↓": fastest(row, with_error(row, "p95", scale=1e3)),
            "device, p50 [ms] ↓": with_error(row, "device median", scale=1e3),
            "throughput [images/s] ↑": throughput_cell(row),
            "speed-up over fp32 eager [×] ↑": speed_up_cell(row, "eager"),
            "share of limit [%] ↑": limit_cell(row),
            "energy [mJ/image] ↓": scaled(row["energy [J/item]"], 1e3),
            "samples": integer(row["samples"]),
            "processes": str(row["repeats"]),
        }
        for row in rows
    ]


def _beside(rows: Sequence[Row], columns: Sequence[str], everything: Sequence[Row]) -> list[str]:
    """What depends on no batch size, once; nothing where only one row would stand in it."""
    reduced = any(row["precision"] != BASELINES[0] for row in rows)
    if not reduced and not _any_pair(rows):
        return []
    cells = [
        {**identity_cells(row, columns), **_against_fp32(row, everything), **_converted(row, reduced)} for row in rows
    ]
    return [table(cells, left=detail.WORDS, key=headers(columns))]


def _converted(row: Row, any_reduced: bool) -> dict[str, str]:
    if not any_reduced:
        return {}
    return {
        "weights, of fp32's [%] ↓": small_percent(row["weights over fp32 [1]"]),
        "parameters converted [%]": small_percent(row["converted parameters [1]"]),
        "FLOPs converted [%]": small_percent(row["converted FLOPs [1]"]),
    }


def _against_fp32(row: Row, everything: Sequence[Row]) -> dict[str, str]:
    any_pair = _any_pair(everything)
    tested = len({one["quality samples"] for one in everything if one["quality samples"]}) > 1
    agreement, agreement_error, change, change_error, p_value, _ = (row[name] for name in AGREEMENT)
    unpaired = agreement is None and row["predictions sha256"] is not None
    baseline = any_pair and unpaired and row["precision"] == BASELINES[0]
    return {
        "tested on [images]": integer(row["quality samples"]) if tested else ABSENT,
        "change to fp32 [points] ↑": BASELINE if baseline else points(change, change_error),
        "agreement with fp32 [%] ↑": BASELINE if baseline else percent(agreement, agreement_error),
        "McNemar p": ABSENT if baseline else probability(p_value),
        "compared on [images]": integer(row["images compared"]) if tested and any_pair else ABSENT,
    }


def _bold(
    rows: Sequence[Row], pick: Callable[[Sequence[Row]], list[Row]], columns: Sequence[str]
) -> Callable[[Row, str], str]:
    """A function that makes the cell of a best row stand out; rows are rivals at one batch size, in one place."""
    shared = ("batch size", *(name for name in columns if name not in SHOWN))
    best = [row for members in grouped(rows, shared).values() for row in pick(members)]
    return lambda row, cell: best_of(best, row, cell)


def _any_pair(rows: Sequence[Row]) -> bool:
    return any(row[AGREEMENT[0]] is not None for row in rows)
