"""Generation, prefill and decoding: only new tokens count, their number is forced, and fewer are refused."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.core.errors import InputError, Unsupported
from bench.core.records import Case
from bench.core.workspace import Workspace
from bench.experiments.language import decode, generation, torch_route
from bench.experiments.language.generation import generate, new_token_counts, prompts_of, text_ids
from bench.experiments.language.subject import load_model
from bench.measure.energy import Counter, Meter

pytestmark = pytest.mark.slow

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([[9, 9, 9, 5, 6, 7]], [3]),
        ([[9, 9, 9, 5, 0, 0]], [1]),  # an end, then padding
        ([[9, 9, 9, 0, 6, 7]], [0]),
        ([[9, 9, 0, 5, 6, 0], [9, 9, 9, 5, 6, 7]], [2, 3]),  # an end in the prompt is not new
    ],
)
def test_new_tokens_end_with_the_answer(rows: list[list[int]], counts: list[int]) -> None:
    assert new_token_counts(torch.tensor(rows), 3, (0,)) == counts


def test_a_model_that_would_end_at_once_goes_on(make_folder: Make) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(make_folder(uniform=True))
    prompts = torch.tensor([[5, 6, 7], [8, 9, 10]])
    assert model.generate(prompts, do_sample=False, max_new_tokens=6).shape[1] == 4  # it does end at once
    made = generate(model, prompts, 6, {})
    assert len(made.gaps) == 5
    assert made.first_token > 0


class EndsEarly:
    """Gives two tokens, whatever it is asked for."""

    generation_config = type("Configuration", (), {"eos_token_id": [0, 99]})

    def generate(self, prompts: Any, *, streamer: Any, **asked: Any) -> Any:
        streamer.put(prompts)
        for _ in range(2):
            streamer.put(torch.tensor([5]))
        return SimpleNamespace(sequences=torch.cat([prompts, torch.tensor([[5, 5]])], dim=1))


def test_a_model_that_stops_early_has_no_speed() -> None:
    with pytest.raises(RuntimeError, match=r"8 new tokens .* \[2\] came"):
        generate(EndsEarly(), torch.tensor([[1, 2, 3]]), 8, {})
    assert len(generate(EndsEarly(), torch.tensor([[1, 2, 3]]), 2, {}).gaps) == 1


@pytest.mark.parametrize("batch_size", [1, 3])
def test_tokens_a_second_are_those_of_all_sequences_after_the_first(
    make_folder: Make, make_case: Make, space: Make, batch_size: int
) -> None:
    folder = make_folder(uniform=True)
    case = make_case("decode", folder, batch_size=batch_size, options={"prompt_tokens": 5, "new_tokens": 4})
    found = decode.run(case, space(folder))
    blocks = found.series["block_seconds"]  # of a generation so short each step is a block
    assert blocks == found.seconds
    assert len(found.seconds) % 3 == 0
    assert found.figures["steps_per_block"].value == 1
    assert found.figures["throughput"].value == pytest.approx(batch_size / statistics.median(blocks))
    assert found.items_per_step == batch_size


def test_blocks_are_of_steps_that_follow_one_another() -> None:
    assert decode.block_sums((1.0, 2.0, 3.0, 4.0, 5.0), 2) == [3.0, 7.0]
    assert decode.block_sums((1.0, 2.0), 1) == [1.0, 2.0]


@pytest.mark.parametrize(("precision", "share"), [("int8_packed", 8), ("nf4", 4), ("int4_linear", 4), ("bf16", 16)])
def test_coverage_is_of_what_is_stored_and_of_what_ran(
    make_folder: Make, make_case: Make, space: Make, precision: str, share: int
) -> None:
    folder = make_folder()
    case = make_case("decode", folder, precision=precision, options={"prompt_tokens": 5, "new_tokens": 3})
    found = decode.run(case, space(folder))
    linear = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96)
    if precision == "int4_linear":  # groups of 64: the 96 inputs of the last products are none
        linear -= 2 * 64 * 96
    embedding, head, scales = VOCABULARY_BYTES // 2, VOCABULARY_BYTES // 2, 5 * 64
    assert found.coverage is not None
    assert found.coverage.total_parameters == 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96) + embedding + head + scales
    everything = share == 16
    assert found.coverage.quantized_parameters == (found.coverage.total_parameters if everything else linear)
    assert found.coverage.total_flops == 2 * (2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96) + head)
    assert found.coverage.quantized_flops == (found.coverage.total_flops if everything else 0)
    assert found.figures["flops_per_step"].value == found.coverage.total_flops


def test_energy_is_of_decode_steps_alone_and_of_each_sequence(
    make_folder: Make, make_case: Make, space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter that grows by a joule at each reading: one from the first token to the end, over three steps."""
    folder, readings = make_folder(uniform=True), itertools.count()
    meter = Meter(counters=(Counter(joules=lambda: float(next(readings))),))
    monkeypatch.setattr(decode, "meter_of", lambda device: meter)
    monkeypatch.setattr(decode, "seconds_of", lambda device, budget: 0.05)
    case = make_case("decode", folder, batch_size=2, options={"prompt_tokens": 5, "new_tokens": 4})
    found = decode.run(case, space(folder))
    assert found.energy_joules_per_item == pytest.approx(1 / 3 / 2)
    assert "energy_joules_per_item" not in found.absent


def test_a_model_of_two_narrow_layers_waits_for_python(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder(uniform=True)
    case = make_case("decode", folder, options={"prompt_tokens": 5, "new_tokens": 8})
    assert 0.4 < decode.run(case, space(folder)).figures["python_share"].value < 1.0


def test_a_counter_that_fails_while_decoding_costs_the_energy_alone(
    make_folder: Make, make_case: Make, space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, readings = make_folder(uniform=True), itertools.count()

    def joules() -> float:
        if (count := next(readings)) == 3:
            raise OSError("lost")
        return float(count)

    monkeypatch.setattr(decode, "meter_of", lambda device: Meter(counters=(Counter(joules=joules),)))
    case = make_case("decode", folder, options={"prompt_tokens": 5, "new_tokens": 4})
    found = decode.run(case, space(folder))
    assert found.energy_joules_per_item is None
    assert found.absent["energy_joules_per_item"].endswith("(lost)")


VOCABULARY_BYTES = 2 * 259 * 64


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_reads_the_weights_and_the_context_once(make_folder: Make, tied: bool) -> None:
    """Of an embedding that is no output head, a row a sequence."""
    model: Any = AutoModelForCausalLM.from_pretrained(make_folder(tied=tied))
    layers = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96) + 5 * 64
    table = 259 * 64
    read = layers + table + (0 if tied else 3 * 64)
    keys_and_values = 2 * 2 * 2 * 16 * 10 * 3  # two layers of two heads, 16 wide, 10 tokens of 3 sequences
    rotary = model.model.rotary_emb.inv_freq.numel() * 2
    assert torch_route.bytes_per_step(model, model.config, 3, 10) == pytest.approx(
        4 * (read + keys_and_values), abs=4 * rotary
    )


def test_prompts_are_of_the_text_and_of_the_length_that_was_asked_for(
    make_folder: Make, make_case: Make, space: Make
) -> None:
    folder = make_folder()
    case = make_case("prefill", folder, batch_size=2, options={"prompt_tokens": 12})
    prompts = prompts_of(case, space(folder), load_model(case, space(folder)))
    assert prompts.shape == (2, 12)
    assert prompts.flatten().tolist() == text_ids(case, space(folder), 24)
    assert text_ids(case, space(folder), None)[:24] == prompts.flatten().tolist()


def test_a_text_too_short_is_refused(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    case = make_case("prefill", folder, options={"prompt_tokens": 3000})
    with pytest.raises(InputError, match=r"544 tokens, .* 3000; use a longer text"):
        prompts_of(case, space(folder), load_model(case, space(folder)))


def test_more_tokens_than_a_model_has_room_for_are_refused(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    case = make_case("decode", folder, options={"prompt_tokens": 4090, "new_tokens": 7})
    with pytest.raises(InputError, match=r"4096 tokens, .* 4097; use fewer --prompt-tokens"):
        prompts_of(case, space(folder), load_model(case, space(folder)))


def test_a_text_that_changed_is_refused(make_folder: Make, make_case: Make, space: Make, text: Path) -> None:
    folder = make_folder()
    case = make_case("prefill", folder, options={"prompt_tokens": 12})
    text.write_text("another")
    with pytest.raises(InputError, match="has changed since the run began"):
        prompts_of(case, space(folder), load_model(case, space(folder)))


def test_prefill_times_the_first_token(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    options = {"prompt_tokens": 12, "max_seconds": 60.0}  # a busy machine may take the whole of smoke's for one
    found = generation.run_prefill(make_case("prefill", folder, options=options), space(folder))
    assert len(found.seconds) >= 3
    assert found.figures["prompt_tokens"].value == 12
    assert {peak.phase for peak in found.peaks} == {"steady"}


def test_prefill_is_never_compiled(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    with pytest.raises(Unsupported, match="compiles decode steps only"):
        generation.run_prefill(
            make_case("prefill", folder, mode="compiled", options={"prompt_tokens": 12}), space(folder)
        )


def test_what_cannot_be_compiled_is_said_and_not_run_eagerly(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    case: Case = make_case(
        "decode", folder, precision="nf4", mode="compiled", options={"prompt_tokens": 5, "new_tokens": 3}
    )
    workspace: Workspace = space(folder)
    with pytest.raises(Unsupported, match="compiles no decoding of models quantised by bitsandbytes"):
        decode.run(case, workspace)


@pytest.mark.parametrize(("name", "tokens"), [("prefill", 5), ("decode", 1)])
def test_a_trace_is_of_what_was_timed(
    make_folder: Make,
    make_case: Make,
    space: Make,
    name: str,
    tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decoding goes on after a prompt that is not in its trace."""
    monkeypatch.setattr("bench.measure.trace.SECONDS", math.inf)
    folder = make_folder(uniform=True)
    case = make_case(name, folder, batch_size=2, options={"prompt_tokens": 5, "new_tokens": 4})
    run = {"prefill": generation.run_prefill, "decode": decode.run}[name]
    found = run(case, replace(space(folder), profile=True))
    [file] = (space(folder).profiles).rglob("*.pt.trace.json")
    events = json.loads(file.read_text())["traceEvents"]
    looked_up = [event["args"]["Input Dims"][1] for event in events if event["name"] == "aten::embedding"]
    assert looked_up == [[2, tokens]] * 3
    assert "aten::mm" in " ".join(found.texts.values())
