"""Small language models in folders, as transformers saves them, with a tokenizer for every byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.core.datasets import load_text
from bench.core.records import Case, Scalar
from bench.core.workspace import Workspace

VOCABULARY = 259
"""Bytes, and three tokens that mark something; the first of all ends an answer."""
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "
TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 8


def tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<end>", "<begin>", "<unknown>", *letters]
    whole = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, [], unk_token="<unknown>"))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    whole.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    made: Any = PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="<end>", bos_token="<begin>")
    made.chat_template = TEMPLATE
    return made  # type: ignore[no-any-return]


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """``make_folder(uniform=False, tied=True)``: a uniform model gives every token the same logit, and so always the
    first one, which ends an answer."""

    def make_folder(*, uniform: bool = False, tied: bool = False) -> Path:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=tied,
            bos_token_id=1,
            eos_token_id=0,
            initializer_range=0.3,
        )
        model = LlamaForCausalLM(config)
        if uniform:
            torch.nn.init.zeros_(model.lm_head.weight)
        folder = tmp_path / f"model-{uniform}-{tied}"
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        return folder

    return make_folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return file


@pytest.fixture
def make_case(tmp_path: Path, text: Path) -> Callable[..., Case]:
    def make_case(experiment: str, folder: Path, *, precision: str = "fp32", **given: Any) -> Case:
        options: dict[str, Scalar] = {"text": str(text), "text_digest": load_text(str(text), tmp_path).digest}
        options |= given.pop("options", {})
        return Case(
            experiment=experiment,
            model=str(folder),
            dataset=text.name,
            image_size=0,
            device="cpu",
            threads=torch.get_num_threads(),
            budget="smoke",
            precision=precision,
            options=tuple(sorted(options.items())),
            **given,
        )

    return make_case


@pytest.fixture
def space(tmp_path: Path) -> Callable[[Path], Workspace]:
    def space(folder: Path) -> Workspace:
        return Workspace(results=tmp_path / "results", data_dir=tmp_path, model_folder=folder)

    return space
