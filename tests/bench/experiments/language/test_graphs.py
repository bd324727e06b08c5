"""Decoding that replays CUDA graphs: one static cache for all generations, without each one's first gap."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, StaticCache

from bench.core.records import Case
from bench.core.workspace import Workspace
from bench.experiments.language import generation
from bench.experiments.language.decode import _decode
from bench.measure.state import Watch
from bench.runtimes.language_route import Generation

CASE = Case(
    experiment="decode",
    model="m",
    dataset="d",
    image_size=0,
    device="cuda",
    threads=1,
    budget="smoke",
    precision="bf16",
    mode="reduce-overhead",
    options=(("new_tokens", 4), ("prompt_tokens", 3)),
)


def test_all_generations_share_one_static_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A new one has new addresses, for which each graph would be recorded again."""
    config = LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    seen: list[Any] = []
    resets: list[Any] = []
    monkeypatch.setattr(StaticCache, "reset", lambda self: resets.append(self))
    monkeypatch.setattr(generation, "prepare_compiler", lambda *_, **__: None)

    def generate(prompts: torch.Tensor, *, streamer: Any, max_new_tokens: int, **given: Any) -> Any:
        seen.append(given["past_key_values"])
        assert "cache_implementation" not in given
        streamer.put(prompts)
        for _ in range(max_new_tokens):
            streamer.put(torch.tensor([5]))
        new = torch.full((1, max_new_tokens), 5)
        return SimpleNamespace(sequences=torch.cat([prompts, new], dim=1), past_key_values=given["past_key_values"])

    model = SimpleNamespace(config=config, generate=generate, generation_config=SimpleNamespace(eos_token_id=None))
    subject: Any = SimpleNamespace(model=model, device=torch.device("cpu"))
    arguments = generation.cache_arguments(subject, CASE, Workspace(results=tmp_path, data_dir=tmp_path))
    assert arguments["compile_config"].mode == "reduce-overhead"
    for _ in range(3):
        found = generation.generate(model, torch.tensor([[1, 2, 3]]), 4, arguments)
        assert (found.cache, len(found.gaps)) == ("static", 3)
    assert len(seen) == len(resets) == 3
    assert {id(cache) for cache in (*seen, *resets)} == {id(arguments["past_key_values"])}


@pytest.mark.parametrize(("mode", "first"), [("reduce-overhead", False), ("eager", True)])
def test_the_first_gap_of_a_replayed_generation_is_left_out(mode: str, first: bool) -> None:
    """What prefill left is copied to the inputs of the graph in it."""
    device = torch.device("cpu")

    def step() -> Generation:
        return Generation(first_token=1.0, gaps=(9.0, 0.5, 0.5), cache="static")

    decoded = _decode(step, replace(CASE, mode=mode, device="cpu"), Watch(device), None, device)
    assert (9.0 in decoded.gaps) == first
    assert (9.0 in decoded.block_seconds) == first
    assert decoded.gaps.count(0.5) == 2 * len(decoded.generations)
