"""Is the route that a run calls fastest the fastest one outside of the suite as well? Run on demand, for some seconds a
network.

    python tests/check_against_runtimes.py results/run.json [--batch-size 1] [--max-drop 0.01] [--rounds 30]

Model files that the run left in ``converted/`` beside its result are timed by ONNX Runtime's and OpenVINO's own calls,
alternating, and nothing of the suite's clock. A route counts where its accuracy is at most ``--max-drop`` below fp32
eager's. Exit status 1 where the run's fastest such route takes more than 5 % longer than the fastest timed here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.core.records import Case, Measurement, from_json  # noqa: E402
from bench.runtimes.quiet import keep_quiet  # noqa: E402

keep_quiet()

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import openvino  # noqa: E402

WITHIN = 1.05
TURN_SECONDS = 0.05
HINTS = {"fp32": "f32", "bf16": "bf16", "int8_static": "f32"}

Call = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--max-drop", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args(arguments)
    rows = inference_rows(given.result, given.batch_size)
    wrong = 0
    for model in dict.fromkeys(row.case.model for row in rows):
        routes = as_accurate([row for row in rows if row.case.model == model], given.max_drop)
        calls = {route_of(row.case): call_of(row.case, given.result.parent) for row in routes}
        seconds = alternating({name: call for name, call in calls.items() if call}, given.rounds)
        if not seconds:
            print(f"{model}: no model file of an accurate route in {given.result.parent / 'converted'}")
            continue
        chosen = min(routes, key=lambda row: statistics.median(row.seconds))
        name = route_of(chosen.case)
        taken = seconds.get(name, statistics.median(chosen.seconds))  # torch's routes as the run timed them
        best = min(seconds, key=lambda route: seconds[route])
        good = taken <= WITHIN * seconds[best]
        wrong += not good
        print(f"{model}: run says {name} ({1e3 * taken:.3f} ms), here {best} ({1e3 * seconds[best]:.3f} ms)", end="")
        print("" if good else f": {taken / seconds[best] - 1:.0%} slower")
    return 1 if wrong or not rows else 0


def inference_rows(result: Path, batch_size: int) -> list[Measurement]:
    """Inference rows of one batch size that were judged."""
    rows = [from_json(Measurement, row["extra_info"]) for row in json.loads(result.read_text())["benchmarks"]]
    return [
        row
        for row in rows
        if (row.case.experiment, row.case.batch_size) == ("inference", batch_size)
        and row.quality
        and not row.case.option("twin")
    ]


def as_accurate(rows: Sequence[Measurement], drop: float) -> list[Measurement]:
    """Rows at most ``drop`` less accurate than fp32 eager in torch; none where that was not measured."""
    reference = [row for row in rows if route_of(row.case) == "torch fp32 eager"]
    least = reference[0].quality.value - drop if reference and reference[0].quality else 2.0
    return [row for row in rows if row.quality and row.quality.value >= least]


def route_of(case: Case) -> str:
    return f"{case.runtime} {case.precision} {case.mode}"


def call_of(case: Case, results: Path) -> Call | None:
    """One call of the model file of ``case`` by its runtime's own interface; None for torch."""
    folder = results / "converted" / case.row
    images = np.random.default_rng(0).normal(size=(case.batch_size, 3, case.image_size, case.image_size))
    batch = images.astype(np.float32)
    if case.runtime == "onnxruntime" and (folder / "model.onnx").is_file():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: batch})
    if case.runtime == "openvino" and (folder / "model.xml").is_file():
        settings = {"INFERENCE_PRECISION_HINT": HINTS[case.precision], "PERFORMANCE_HINT": "LATENCY"}
        model = openvino.Core().read_model(folder / "model.xml")
        model.reshape(batch.shape)
        compiled = openvino.compile_model(model, "CPU", {**settings, "INFERENCE_NUM_THREADS": case.threads})
        return lambda: compiled(batch)
    return None


def alternating(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Median seconds of a call of each, in turns of 50 ms with one untimed call before each."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            end = time.perf_counter() + TURN_SECONDS
            while True:
                begin = time.perf_counter()
                call()
                now = time.perf_counter()
                samples[name].append(now - begin)
                if now >= end:
                    break
    return {name: statistics.median(taken) for name, taken in samples.items()}


if __name__ == "__main__":
    sys.exit(main())
