"""The pictures of the inference rows, each with a sentence on what it shows in these rows."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import accuracy_cell, ratio_range, variant, with_error
from bench.report.contents import Contents
from bench.report.front import SURE, comparable, outermost
from bench.report.markdown import escape, megabytes
from bench.report.network_figures import LEAST_SAMPLES
from bench.report.pairs import in_use
from bench.report.rows import Row, figure, grouped, hardly_converted, is_meaningless


def parts(contents: Contents) -> list[str]:
    return [*_accuracy(contents), *_memory(contents), *_latencies(contents)]


def _accuracy(contents: Contents) -> list[str]:
    told = []
    for name, rows in grouped(contents.inferences, ("dataset",)).items():
        text = f"accuracy against latency on {escape(str(name[0]))}"
        image = contents.picture("accuracy", str(name[0]), text)
        if image:
            sentences = [_front(members) for members in comparable(rows).values() if len(members) > 1]
            told += [f"**Accuracy against latency.** {' '.join(sentences)} Bars are one standard error.", image]
    return told


def _front(rows: Sequence[Row]) -> str:
    """The ends of the front, and how many rows lie behind it."""
    front = outermost(rows)
    first, last = (variant(row) for row in (front[0], front[-1]))
    ends = [f"{with_error(row, 'median', scale=1e3)} ms, {accuracy_cell(row)} %" for row in (front[0], front[-1])]
    size = rows[0]["batch size"]
    whole = f"At batch {size} the front holds {len(front)} of {len(rows)} rows"
    if len(front) == 1:
        return f"{whole}: {first} ({ends[0]}) is the fastest, and no other is more accurate by {SURE} standard errors."
    return (
        f"{whole}, each more accurate than the one before by {SURE} standard errors: it goes from {first} ({ends[0]}) "
        f"to {last} ({ends[1]})."
    )


def _memory(contents: Contents) -> list[str]:
    image = contents.picture("memory", "networks", "memory by precision")
    known = [row for row in contents.inferences if row["weights [B]"] is not None and in_use(row) is not None]
    rows = [row for row in known if not is_meaningless(row)]
    if not image or not rows:
        return [image] if image else []
    more = [row for row in rows if (in_use(row) or 0) > 2 * row["weights [B]"]]
    low = [row for row in rows if (figure(row, "weight_bits") or 32) < 32 and not hardly_converted(row)]
    ratios = [ratio for row in low if (ratio := row["steady peak over fp32 same mode [1]"]) is not None]
    saved = f" Below 32 bits, weights and step together take {ratio_range(ratios)} of fp32's." if ratios else ""
    most = max(rows, key=lambda row: in_use(row) or 0)
    return [
        "**Memory by precision**, weights and what a step adds, at each network's largest batch with several rows. "
        f"In {len(more)} of {len(rows)} rows of all batch sizes a step adds more than the weights take; the most is in "
        f"use in {variant(most)} at batch "
        f"{most['batch size']}: {megabytes(in_use(most))} MB.{saved}",
        image,
    ]


def _latencies(contents: Contents) -> list[str]:
    image = contents.picture("latencies", "networks", "how latencies spread")
    known = [row for row in contents.inferences if row["samples"] >= LEAST_SAMPLES and row["p95 [s]"] is not None]
    rows = [row for row in known if not is_meaningless(row)]
    if not image or not rows:
        return [image] if image else []
    tails = sorted(rows, key=lambda row: row["p95 [s]"] / row["median [s]"])
    steady = sum(row["p95 [s]"] < 1.1 * row["median [s]"] for row in rows)
    worst = tails[-1]
    return [
        "**How single calls spread**, at each network's smallest batch with several rows. "
        f"The 95th percentile is less than 10 % above the median in {steady} of {len(rows)} rows; the longest tail is "
        f"that of {variant(worst)} at batch {worst['batch size']}: "
        f"{worst['p95 [s]'] / worst['median [s]']:.2f} times its median.",
        image,
    ]
