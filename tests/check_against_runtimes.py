"""Is a run's pick the fastest accurate route outside of the suite as well? Run on demand, on a quiet machine.

    python tests/check_against_runtimes.py results/run.json [--batch-sizes 1] [--models cnn_small] [--rounds 20]

Model files that the run left in ``converted/`` beside its result are timed by the own Python calls of ONNX Runtime,
OpenVINO, OpenVINO GenAI, llama.cpp and ONNX Runtime GenAI, alternating, and nothing of the suite's clock. torch's
routes have no model file: they count as the run timed them. Picks and which routes are as accurate are the report's.
Exit status 1 where the pick takes more than 5 % longer than the fastest route here that is as accurate.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import models  # noqa: E402
from bench.core.records import Case, digest_of, word  # noqa: E402
from bench.report.choosing import Choice  # noqa: E402
from bench.report.content import Content  # noqa: E402
from bench.report.judging import margins_of  # noqa: E402
from bench.report.load import load_all  # noqa: E402
from bench.runtimes.quiet import keep_quiet  # noqa: E402
from models.language_files import packaged_file  # noqa: E402

WITHIN = 0.05
TURN_SECONDS = 0.05
NEW_TOKENS = 32
HINTS = {"fp32": "f32", "int8_static": "f32"}
"""Number format of what is not compressed, where it is not bfloat16."""

Turn = Callable[[], list[float]]
"""Takes one turn and gives the seconds of its calls, or of a token."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--batch-sizes", default="1")
    parser.add_argument("--models", default="", help="names, commas between; default: all of the run")
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args(arguments)
    keep_quiet()
    sizes = [int(size) for size in given.batch_sizes.split(",")]
    names = [name for name in given.models.split(",") if name]
    wrong = checked = 0
    for choice in choices_of(given.result):
        if choice.batch not in sizes or (names and choice.model not in names) or choice.pick is None:
            continue
        turns = dict(turns_of(choice, given.result.parent / "converted"))
        if not turns:
            print(f"{choice.model}, batch {choice.batch}: no model file of an accurate route")
            continue
        pick = name_of(choice.pick.result.case)
        seconds = {pick: choice.pick.result.timing.median, **alternating(turns, given.rounds)}
        checked += 1
        wrong += slower(seconds, pick) > WITHIN
        listed = ", ".join(f"{name} {1e3 * taken:.3f}" for name, taken in sorted(seconds.items(), key=lambda i: i[1]))
        verdict = "right" if slower(seconds, pick) <= WITHIN else f"WRONG, {slower(seconds, pick):.0%} slower"
        by_run = "" if pick in turns else " (as the run timed it)"
        print(f"{choice.model}, batch {choice.batch}: {verdict}: the run picks {pick}{by_run}; ms here: {listed}")
    print(f"{checked} picks checked, {wrong} wrong")
    return 1 if wrong or not checked else 0


def choices_of(result: Path) -> list[Choice]:
    """The report's choices of a run: classifiers at each batch size, language models."""
    runs, refused = load_all([result])
    if not runs:
        raise SystemExit("\n".join(refused))
    content = Content(runs=runs, refused=refused, margins=margins_of(runs), method=None)
    return [choice for network in content.networks for choice in network] + [one for _, one in content.languages]


def turns_of(choice: Choice, converted: Path) -> Iterator[tuple[str, Turn]]:
    """Routes of ``choice`` that are as accurate and have a model file; all of them where no quality is known."""
    for candidate in choice.candidates:
        case = candidate.result.case
        make = MAKERS.get((case.experiment, case.runtime))
        folder = converted / case.row
        if case.experiment == "decode":
            folder = converted / f"{word(case.model)}-{digest_of(case.option('model_digest'))}"
        if make and folder.is_dir() and (candidate.judgement.accurate or not choice.judged):
            yield name_of(case), make(case, folder)


def name_of(case: Case) -> str:
    return f"{case.runtime} {case.precision} {case.mode}"


def slower(seconds: Mapping[str, float], pick: str) -> float:
    """Part of the fastest one's seconds by which ``pick`` takes longer."""
    return seconds[pick] / min(seconds.values()) - 1


def alternating(turns: Mapping[str, Turn], rounds: int) -> dict[str, float]:
    """Median seconds of each, in turns of shuffled order, after one turn that does not count."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    order = random.Random(0)
    for turn in turns.values():
        turn()
    for _ in range(rounds):
        for name in order.sample(list(turns), len(turns)):
            samples[name] += turns[name]()
    return {name: statistics.median(taken) for name, taken in samples.items()}


def onnx_classifier(case: Case, folder: Path) -> Turn:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images_of(case)}
    return calls(lambda: session.run(None, feed))


def openvino_classifier(case: Case, folder: Path) -> Turn:
    import openvino

    model = openvino.Core().read_model(folder / "model.xml")
    batch = images_of(case)
    model.reshape(batch.shape)
    compiled = openvino.compile_model(model, "CPU", _settings(case))
    return calls(lambda: compiled(batch))


def openvino_language(case: Case, folder: Path) -> Turn:
    import openvino
    import openvino_genai

    base = "openvino-f16"  # the compressed ones have no tokenizer of their own
    model = folder / (f"openvino-{case.precision}" if case.precision.endswith("weights") else base)
    tokenizer = openvino_genai.Tokenizer(str(folder / base))
    pipeline = openvino_genai.LLMPipeline(str(model), tokenizer, "CPU", **_settings(case))
    wanted = openvino_genai.GenerationConfig(max_new_tokens=NEW_TOKENS, ignore_eos=True, do_sample=False)

    def turn() -> list[float]:
        ids = np.array([next(prompts)], dtype=np.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        return [pipeline.generate(inputs, wanted).perf_metrics.get_tpot().mean / 1e3]

    prompts = prompts_of(case)
    return turn


def llama_language(case: Case, folder: Path) -> Turn:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    published = packaged_file(models.language_model(case.model).location)
    written = folder / f"gguf-{case.precision}" / "model.gguf"
    parameters.model.path = str(published if case.precision == "gguf" else written)
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = case.threads
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = 1024, 1, -1
    server = xllamacpp.Server(parameters)
    wanted = {"n_predict": NEW_TOKENS, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    prompts = prompts_of(case)

    def turn() -> list[float]:
        timings = server.handle_completions({**wanted, "prompt": next(prompts)})["timings"]
        return [timings["predicted_per_token_ms"] / 1e3]

    return turn


def onnx_language(case: Case, folder: Path) -> Turn:
    import json

    import onnxruntime_genai

    config = onnxruntime_genai.Config(str(folder / f"onnx-{case.precision}"))
    session = {"intra_op_num_threads": case.threads}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    model, prompts = onnxruntime_genai.Model(config), prompts_of(case)

    def turn() -> list[float]:
        prompt = next(prompts)
        parameters = onnxruntime_genai.GeneratorParams(model)
        length = len(prompt) + NEW_TOKENS
        parameters.set_search_options(do_sample=False, min_length=length, max_length=length)
        generator = onnxruntime_genai.Generator(model, parameters)
        generator.append_tokens(np.array([prompt], dtype=np.int32))
        generator.generate_next_token()
        begin = time.perf_counter()
        for _ in range(NEW_TOKENS - 1):
            generator.generate_next_token()
        return [(time.perf_counter() - begin) / (NEW_TOKENS - 1)]

    return turn


MAKERS: dict[tuple[str, str], Callable[[Case, Path], Turn]] = {
    ("inference", "onnxruntime"): onnx_classifier,
    ("inference", "openvino"): openvino_classifier,
    ("decode", "openvino"): openvino_language,
    ("decode", "llama_cpp"): llama_language,
    ("decode", "onnxruntime"): onnx_language,
}
"""Experiment and runtime -> function that loads the model file and gives its turns."""


def _settings(case: Case) -> dict[str, Any]:
    """OpenVINO's settings for one caller."""
    return {
        "INFERENCE_PRECISION_HINT": HINTS.get(case.precision, "bf16"),
        "INFERENCE_NUM_THREADS": case.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }


def images_of(case: Case) -> Any:
    """Noise, shape (batch, 3, side, side)."""
    shape = (case.batch_size, 3, case.image_size, case.image_size)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def prompts_of(case: Case) -> Iterator[list[int]]:
    """Fresh random prompts of the case's length, since a prompt that repeats may be kept."""
    draw = random.Random(0)
    while True:
        yield [draw.randrange(100, 30_000) for _ in range(int(case.option("prompt_tokens") or 64))]


def calls(call: Callable[[], object]) -> Turn:
    """Turns of 50 ms of ``call``, with one call before that is not timed."""

    def turn() -> list[float]:
        taken: list[float] = []
        call()
        while sum(taken) < TURN_SECONDS:
            begin = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begin)
        return taken

    return turn


if __name__ == "__main__":
    sys.exit(main())
