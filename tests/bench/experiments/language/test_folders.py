"""Folders of language models as they are found: a generation is what its row says, or the folder is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
)

from bench.core.errors import InputError, Unsupported
from bench.experiments.language import decode, generation, quality
from bench.experiments.language.checkpoint import fetch
from bench.experiments.language.subject import load_model
from tests.bench.experiments.language.conftest import VOCABULARY, tokenizer

Make = Callable[..., Any]
SHORT = {"prompt_tokens": 5, "new_tokens": 6}


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def changed(folder: Path, name: str, **settings: Any) -> Path:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"use_cache": False}),
        ("config.json", {"output_hidden_states": True, "return_dict": False}),
        ("generation_config.json", {"num_beams": 4}),
        ("generation_config.json", {"repetition_penalty": 9.0, "do_sample": True, "temperature": 5.0}),
        ("generation_config.json", {"use_cache": False, "cache_implementation": "static"}),
    ],
)
def test_decoding_is_greedy_with_the_cache_of_its_row(
    file: str, settings: Any, make_folder: Make, make_case: Make, space: Make
) -> None:
    """The model is run on five tokens once and on one token after that, and gives what it gives by hand."""
    folder = make_folder()
    case = make_case("decode", folder, options=SHORT)
    plain = load_model(case, space(folder)).model
    prompts = torch.tensor([[5, 6, 7, 8, 9]])
    expected, lengths = prompts, []
    with torch.no_grad():
        for _ in range(6):
            logits = plain(expected).logits[:, -1]
            logits[:, 0] = -float("inf")  # the end, which a generation of forced length may not give
            expected = torch.cat([expected, logits.argmax(1, keepdim=True)], 1)
    model = load_model(case, space(changed(folder, file, **settings))).model
    inner = model.model.forward

    def watched(input_ids: Any = None, **others: Any) -> Any:
        lengths.append(input_ids.shape[1])
        return inner(input_ids=input_ids, **others)

    model.model.forward = watched
    kept: list[Any] = []
    whole = model.generate

    def remembered(*given: Any, **asked: Any) -> Any:
        kept.append(whole(*given, **asked))
        return kept[-1]

    model.generate = remembered
    made = generation.generate(model, prompts, 6, {})
    assert lengths == [5, 1, 1, 1, 1, 1]
    assert made.cache == "dynamic"
    assert torch.equal(kept[0].sequences, expected)


def test_a_masked_language_model_is_refused(tmp_path: Path, space: Make) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    folder = saved(BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, **shape)), tmp_path / "bert")
    with pytest.raises(InputError, match="is no causal language model but BertForMaskedLM"):
        fetch(str(folder), space(folder))


def test_a_tokenizer_of_more_tokens_than_the_model_is_refused(make_folder: Make, space: Make) -> None:
    folder = changed(make_folder(), "config.json", vocab_size=200)
    with pytest.raises(InputError, match="its tokenizer has tokens up to 258 and its model 200 of them"):
        fetch(str(folder), space(folder))


def test_a_model_without_keys_and_values_is_unsupported(tmp_path: Path, make_case: Make, space: Make) -> None:
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, state_size=4)
    folder = saved(MambaForCausalLM(config), tmp_path / "mamba")
    with pytest.raises(Unsupported, match="architecture mamba, which keeps no keys and values"):
        decode.run(make_case("decode", folder, options=SHORT), space(folder))


def test_layers_of_gpt2_are_counted_and_converted(tmp_path: Path, make_case: Make, space: Make) -> None:
    """Its layers are of a class of transformers' own: of each 12 n^2 weights, n = 64, and a head of n x vocabulary."""
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=64)
    folder = saved(GPT2LMHeadModel(config), tmp_path / "gpt2")
    found = decode.run(make_case("decode", folder, precision="bf16", options=SHORT), space(folder))
    flops = 2 * (2 * 12 * 64 * 64 + 64 * VOCABULARY)
    assert found.figures["flops_per_step"].value == flops
    assert found.coverage is not None
    assert found.coverage.total_flops == found.coverage.quantized_flops == flops


def test_a_conversation_goes_without_a_system_turn_where_the_template_refuses_it(
    make_folder: Make, make_case: Make, space: Make
) -> None:
    folder = make_folder()
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    words = tokenizer()
    words.chat_template = refuses + str(words.chat_template)
    words.save_pretrained(folder)
    found = quality.run_chat(make_case("chat", folder, options={"new_tokens": 3}), space(folder))
    assert "system" not in found.texts
    assert any("without" in note for note in found.notes)
    words.chat_template = str(tokenizer().chat_template)
    words.save_pretrained(folder)
    assert "system" in quality.run_chat(make_case("chat", folder, options={"new_tokens": 3}), space(folder)).texts
