"""Language models in other runtimes: forced tokens, fresh prompts, threads, telemetry, and the files that they make."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import models
from bench.core.errors import Unsupported
from bench.core.precisions import PRECISIONS
from bench.core.records import Case
from bench.experiments.language.routes import prepared_model
from bench.runtimes.gguf_files import held_in
from bench.runtimes.language_route import Generation, LanguageOrder, LanguageRuntime, StepClock, coverage_of
from models.language_files import folder_of, packaged_file
from tests.bench.runtimes.conftest import LANGUAGE_MODEL

pytestmark = pytest.mark.slow

SPEC = models.language_model(LANGUAGE_MODEL)
PROMPT = list(range(300, 340))
ROUTES = (("openvino", "int8_weights"), ("onnxruntime", "int4_weights"), ("llama_cpp", "q8_0"))
FAITHFUL = (("openvino", "fp32"), ("onnxruntime", "fp32"), ("llama_cpp", "q8_0"))
WEIGHTS = 35_392_320
IN_PRODUCTS = 35_389_440

Load = Callable[[str, str], LanguageRuntime]


@pytest.fixture(scope="module")
def order(language_data: Path) -> LanguageOrder:
    return LanguageOrder(
        name=SPEC.name,
        checkpoint=folder_of(SPEC, language_data / "cache", lambda line: None),
        gguf=packaged_file(SPEC.location),
        layers=SPEC.layers,
        precision=PRECISIONS["fp32"],
        threads=2,
        room=256,
        files=language_data / "converted",
        fresh=False,
    )


@pytest.fixture(scope="module")
def load(order: LanguageOrder) -> Iterator[Load]:
    loaded: dict[tuple[str, str], LanguageRuntime] = {}

    def load(runtime: str, precision: str) -> LanguageRuntime:
        if (runtime, precision) not in loaded:
            loaded[runtime, precision] = prepared(runtime, replace(order, precision=PRECISIONS[precision]))
        return loaded[runtime, precision]

    yield load
    for model in loaded.values():
        model.close()


def prepared(runtime: str, order: LanguageOrder) -> LanguageRuntime:
    case = Case(
        experiment="decode",
        model=order.name,
        dataset="none",
        image_size=0,
        device="cpu",
        threads=order.threads,
        budget="smoke",
        runtime=runtime,
        precision=order.precision.name,
        mode="native",
    )
    return prepared_model(case, order)


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_the_number_of_new_tokens_is_forced(load: Load, runtime: str, precision: str) -> None:
    generation = load(runtime, precision).generate(PROMPT, 9)
    assert len(generation.gaps) == 8
    assert all(gap > 0 for gap in generation.gaps)
    assert generation.inside is not None
    assert 0 < generation.inside <= 1.05 * sum(generation.gaps)


@pytest.mark.parametrize(
    ("runtime", "precision"), [("openvino", "fp32"), ("onnxruntime", "fp32"), ("llama_cpp", "q8_0")]
)
def test_greedy_tokens_are_transformers(load: Load, order: LanguageOrder, runtime: str, precision: str) -> None:
    reference = AutoModelForCausalLM.from_pretrained(order.checkpoint, dtype=torch.float32)
    prompt = torch.tensor([PROMPT])
    expected = reference.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=4)
    assert load(runtime, precision).answer(PROMPT, 4, ()) == expected[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_logits_at_fp32_are_transformers(load: Load, order: LanguageOrder, runtime: str) -> None:
    reference = AutoModelForCausalLM.from_pretrained(order.checkpoint, dtype=torch.float32)
    with torch.no_grad():
        expected = reference(torch.tensor([PROMPT])).logits[0].numpy()
    found = load(runtime, "fp32").logits(PROMPT)
    assert found.shape == expected.shape
    # OpenVINO's file holds the weights in float16.
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_llama_cpp_gives_nats_of_likely_and_unlikely_tokens(load: Load, order: LanguageOrder) -> None:
    reference = AutoModelForCausalLM.from_pretrained(order.checkpoint, dtype=torch.float32)
    with torch.no_grad():
        logits = reference(torch.tensor([PROMPT])).logits[0]
    likely = int(logits[-1].argmax())
    unlikely = int(logits[-1].argmin())
    expected = -torch.log_softmax(logits[-1], dim=0)
    model = load("llama_cpp", "q8_0")
    for token in (likely, unlikely):  # the second is not among the thousand that are asked for first
        [nats] = model.nats([*PROMPT, token], 1)
        assert nats == pytest.approx(float(expected[token]), abs=0.1, rel=0.05)


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_nothing_of_an_earlier_prompt_is_used(load: Load, runtime: str, precision: str) -> None:
    """A prompt that repeats takes as long as before: 200 tokens take several times as long as one token."""
    model = load(runtime, precision)
    long = (PROMPT * 5)[:200]
    model.generate(long, 2)
    again = min(model.generate(long, 2).first_token for _ in range(3))
    short = min(model.generate(PROMPT[:1], 2).first_token for _ in range(3))
    assert again > 2 * short


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_weights_are_counted_as_they_are_stored(load: Load, runtime: str, precision: str) -> None:
    model = load(runtime, precision)
    model.generate(PROMPT, 2)
    stored = model.stored()
    bits = PRECISIONS[precision].weight_bits
    # Scales take up to a third of the bytes at 4 bits, and 1/16 at 8.
    assert WEIGHTS * bits / 8 < stored.weight_bytes < 1.4 * WEIGHTS * bits / 8
    assert stored.serialized_bytes > stored.weight_bytes
    coverage = coverage_of(stored, parameters=WEIGHTS, in_products=IN_PRODUCTS)
    assert coverage.quantized_parameters >= IN_PRODUCTS
    assert coverage.total_flops == 2 * IN_PRODUCTS
    assert model.flags()["runtime_threads"] == 2


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_one_thread_computes_with_one_core(order: LanguageOrder, runtime: str, precision: str) -> None:
    model = prepared(runtime, replace(order, precision=PRECISIONS[precision], threads=1))
    model.generate(PROMPT, 2)
    begin, before = time.perf_counter(), sum(os.times()[:2])
    model.generate(PROMPT * 4, 40)
    cores = (sum(os.times()[:2]) - before) / (time.perf_counter() - begin)
    model.close()
    assert cores < 1.3


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_nothing_is_written_into_the_home_folder(
    order: LanguageOrder, tmp_path: Path, runtime: str, precision: str
) -> None:
    """Telemetry would leave the number of a device there."""
    home = tmp_path / "home"
    home.mkdir()
    program = f"""
        from pathlib import Path
        from bench.core.precisions import PRECISIONS
        from bench.core.runtimes import RUNTIMES
        from bench.runtimes.language_route import LanguageOrder
        import importlib
        module, _, name = RUNTIMES[{runtime!r}].language_entry.partition(":")
        order = LanguageOrder(
            name="a", checkpoint=Path({str(order.checkpoint)!r}), gguf=Path({str(order.gguf)!r}), layers=2,
            precision=PRECISIONS[{precision!r}], threads=1, room=64, fresh=True,
            files=Path({str(tmp_path / "files")!r}),
        )
        model = getattr(importlib.import_module(module), name)(order)
        print(len(model.generate([5, 6, 7], 3).gaps))
        model.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split()[-1:] == ["2"], done.stderr[-2000:]
    assert list(home.rglob("*")) == []


def test_a_conversion_that_was_cut_short_leaves_no_folder(order: LanguageOrder, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(order.gguf.read_bytes()[:100_000] if order.gguf else b"")
    spoilt = replace(order, gguf=broken, precision=PRECISIONS["q8_0"], files=tmp_path / "files", fresh=True)
    with pytest.raises(Unsupported, match=r"llama\.cpp cannot take this network"):
        prepared("llama_cpp", spoilt)
    assert not list((tmp_path / "files").iterdir())


def test_a_model_without_a_gguf_file_is_refused_in_one_line(order: LanguageOrder, tmp_path: Path) -> None:
    for runtime, precision in (("openvino", "int8_weights"), ("llama_cpp", "gguf")):
        without = replace(order, gguf=None, precision=PRECISIONS[precision], files=tmp_path)
        with pytest.raises(Unsupported, match="smollm2-2-layers has no GGUF file: "):
            prepared(runtime, without)


def test_a_server_answers_before_it_is_ended(order: LanguageOrder, tmp_path: Path) -> None:
    """llama.cpp's waits for ever for its thread if that has not begun its loop."""
    from bench.runtimes.llama_cpp import LlamaCpp

    class Server:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def handle_completions(self, request: dict[str, Any]) -> dict[str, Any]:
            self.asked.append(request["n_predict"])
            return {"choices": [{"logprobs": {"content": [{"id": 7}]}}]}

    for answers, expected in ((0, [1]), (1, [5])):
        server = Server()
        model = LlamaCpp(order, tmp_path, server, convert_seconds=None, load_seconds=1.0)
        for _ in range(answers):
            assert model.answer(PROMPT, 5, ()) == [7]
        model.close()
        assert server.asked == expected


def test_a_full_disk_is_named(order: LanguageOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.runtimes import gguf_files

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf_files, "rewrite", full)
    with pytest.raises(OSError, match="No space left"):
        prepared("llama_cpp", replace(order, precision=PRECISIONS["q4_0"], files=tmp_path, fresh=True))
    assert not list(tmp_path.iterdir())


def test_a_gguf_file_keeps_its_weights(order: LanguageOrder, load: Load) -> None:
    load("llama_cpp", "q8_0")
    held = held_in(order.files / "gguf-q8_0" / "model.gguf")
    assert held.parameters["Q8_0"] == IN_PRODUCTS
    assert sum(held.parameters.values()) == WEIGHTS
    assert held.weight_bytes == IN_PRODUCTS * 34 // 32 + 4 * (WEIGHTS - IN_PRODUCTS)


def test_a_clock_counts_what_passed_inside_the_runtime_after_the_first_token() -> None:
    clock = StepClock()
    for _ in range(3):
        clock.inside(0.5)
        clock.token()
    generation = clock.generation((1, 2, 3))
    assert isinstance(generation, Generation)
    assert (generation.inside, len(generation.gaps), generation.tokens) == (1.0, 2, (1, 2, 3))
    with pytest.raises(RuntimeError, match="gave no token"):
        StepClock().generation(())
