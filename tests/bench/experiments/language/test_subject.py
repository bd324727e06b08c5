"""Loading: bytes stored, memory needed, and one line for each model that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from bench.core.errors import InputError, TooLittleMemory, Unsupported
from bench.core.precisions import PRECISIONS
from bench.core.workspace import Workspace
from bench.experiments.language import checkpoint
from bench.experiments.language.subject import check_weights, load_model, size_of
from bench.measure import memory
from bench.precision.weights import WrongConversion

Make = Callable[..., Any]
LINEAR = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96)
TABLE = 259 * 64


@pytest.mark.parametrize("tied", [True, False])
def test_size_is_counted_without_loading(make_folder: Make, tied: bool) -> None:
    size = size_of(make_folder(tied=tied))
    assert size.parameters == LINEAR + TABLE * (1 if tied else 2) + 5 * 64
    assert (size.in_products, size.in_converted) == (LINEAR + TABLE, LINEAR)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", 4 * (LINEAR + 2 * TABLE + 5 * 64)),
        ("bf16", 2 * (LINEAR + 2 * TABLE + 5 * 64)),
        ("int8_packed", LINEAR + 2 * (2 * TABLE + 5 * 64)),
        ("nf4", LINEAR // 2 + 2 * (2 * TABLE + 5 * 64)),
    ],
)
def test_weights_take_what_their_bits_say(
    make_folder: Make, make_case: Make, space: Make, precision: str, expected: int
) -> None:
    """And a scale for each row or block beside them, a few percent."""
    folder = make_folder()
    found = checkpoint.run_load(make_case("load", folder, precision=precision), space(folder))
    assert found.weight_bytes == pytest.approx(expected, rel=0.06)
    assert found.seconds == (found.cold.load,)
    assert found.figures["checkpoint_bytes"].value == pytest.approx(4 * (LINEAR + 2 * TABLE), rel=0.02)


def test_a_process_whose_threads_have_worked_is_not_forked(make_folder: Make, make_case: Make, space: Make) -> None:
    """Its child would wait for them for ever. In a worker it is forked before: the smoke runs look at that."""
    folder = make_folder()
    found = checkpoint.run_load(make_case("load", folder), space(folder))
    assert found.peaks == ()
    assert "only in a worker process" in found.absent["peaks"]


def test_too_little_memory_is_told_before_loading(
    make_folder: Make, make_case: Make, space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder()
    need = 4 * (LINEAR + 2 * TABLE + 5 * 64)
    monkeypatch.setattr(memory, "available_bytes", lambda device: need - 1)
    with pytest.raises(TooLittleMemory, match=r"at fp32 needs 0\.0 GB .* choose fewer bits"):
        load_model(make_case("load", folder), space(folder))
    load_model(make_case("load", folder, precision="bf16"), space(folder))


def test_a_model_of_which_nothing_is_converted_is_no_row(tmp_path: Path, make_case: Make, space: Make) -> None:
    """GPT-2's layers are Conv1D, which packing leaves alone; bitsandbytes takes them."""
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=64, n_layer=1, n_head=2, n_positions=32)).save_pretrained(tmp_path)
    with pytest.raises(Unsupported, match="nothing is converted"):
        load_model(make_case("load", tmp_path, precision="int8_packed"), space(tmp_path))
    found = load_model(make_case("load", tmp_path, precision="int8_bnb"), space(tmp_path))
    assert found.facts["coverage"].quantized_parameters == 12 * 64 * 64


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8_packed", "int8_bnb", "nf4", "int8_linear_bf16"])
def test_weights_are_compared_with_the_checkpoints(
    make_folder: Make, make_case: Make, space: Make, precision: str
) -> None:
    folder = make_folder(tied=False)
    model = load_model(make_case("load", folder, precision=precision), space(folder)).model
    compared = check_weights(model, folder, PRECISIONS[precision])
    assert compared == len(load_file(folder / "model.safetensors"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.gate_proj.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongConversion, match=r"that model\.layers\.1\.mlp\.up_proj computes with"):
        check_weights(model, folder, PRECISIONS[precision])


def test_matrices_that_are_stored_turned_are_compared_too(tmp_path: Path, make_case: Make, space: Make) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=64, n_layer=1, n_head=2, n_positions=32)).save_pretrained(tmp_path)
    for precision in ("bf16", "int8_bnb"):
        model = load_model(make_case("load", tmp_path, precision=precision), space(tmp_path)).model
        assert check_weights(model, tmp_path, PRECISIONS[precision]) == 4 + 2 + 2 + 1  # products, tables, norms


def test_missing_weights_are_not_drawn_at_random(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights of its model, model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(make_case("load", folder), space(folder))


def test_fetching_tells_what_the_report_says(make_folder: Make, tmp_path: Path) -> None:
    folder = make_folder()
    facts = checkpoint.fetch(str(folder), Workspace(results=tmp_path, data_dir=tmp_path))
    assert facts["folder"] == str(folder)
    assert (facts["parameters"], facts["random"]) == (LINEAR + 2 * TABLE + 5 * 64, False)
    assert facts["digest"]


def no_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


def broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def code_of_its_own(folder: Path) -> None:
    known = json.loads((folder / "config.json").read_text())
    own = {"model_type": "mystery", "auto_map": {"AutoConfig": "configuration_mystery.Mystery"}}
    (folder / "config.json").write_text(json.dumps({**known, **own}))


def quantised_already(folder: Path) -> None:
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**known, "quantization_config": {"quant_method": "gptq"}}))


def broken_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[]")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def weights_cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def a_shard_missing(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"norm": "model-2-of-2.safetensors"}})
    )


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_configuration, "has no config.json"),
        (broken_configuration, "config.json"),
        (code_of_its_own, "needs code of its own, which is not run here"),
        (quantised_already, "is quantised already; give its unquantised weights"),
        (no_weights, r"has no model\.safetensors, nor its index"),
        (broken_index, r"model\.safetensors\.index\.json cannot be used"),
        (weights_cut_short, r"model\.safetensors is missing or cut short"),
        (a_shard_missing, r"model-2-of-2\.safetensors is missing or cut short"),
        (no_tokenizer, "has no tokenizer that can be used"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    make_folder: Make, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = make_folder()
    spoil(folder)
    with pytest.raises(InputError, match=message) as found:
        checkpoint.fetch(str(folder), Workspace(results=tmp_path, data_dir=tmp_path))
    assert "\n" not in str(found.value)
    assert str(folder) in str(found.value)
