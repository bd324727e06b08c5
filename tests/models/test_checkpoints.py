"""Files of weights as trainers leave them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models import ModelError
from models.checkpoints import find_weights, read_weights, split_key

State = dict[str, Tensor]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


class Wrapper(nn.Module):
    """All its names begin with ``module.``, and rightly so."""

    def __init__(self) -> None:
        super().__init__()
        self.module = network()


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return dict(network().state_dict())


KEPT: dict[str, tuple[Callable[[State], Any], tuple[str, ...]]] = {
    "bare": (lambda state: state, ()),
    "lightning": (
        lambda state: {"state_dict": under("model.", state), "hyper_parameters": {"lr": 0.1}, "callbacks": {}},
        ("taken from 'state_dict'", "stripped model."),
    ),
    "other key": (lambda state: {"weights": state}, ("taken from 'weights'",)),
    "two prefixes": (lambda state: under("module._orig_mod.", state), ("stripped module., _orig_mod.",)),
    "beside a loss": (
        lambda state: {**under("net.", state), "criterion.weight": torch.ones(2)},
        ("stripped net. (criterion.weight left out)",),
    ),
    "optimiser beside": (
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 3},
        ("taken from 'model'",),
    ),
    "old batch norm": (lambda state: {name: value for name, value in state.items() if "num" not in name}, ()),
}


@pytest.mark.parametrize("form", KEPT)
def test_the_weights_are_found_and_what_was_done_is_said(form: str, state: State, tmp_path: Path) -> None:
    make, said = KEPT[form]
    torch.save(make(state), tmp_path / "weights.pt")
    found = find_weights(read_weights(tmp_path / "weights.pt"), network().state_dict(), "weights.pt")
    assert found.said == said
    assert all(torch.equal(found.state[name], state[name]) for name in state if "num_batches" not in name)


def test_names_that_rightly_begin_with_a_prefix_keep_it(state: State) -> None:
    own = under("module.", state)
    assert find_weights(own, Wrapper().state_dict(), "file").state == own
    assert find_weights(own, Wrapper().state_dict(), "file").said == ()


def test_weights_saved_before_the_network_was_wrapped_get_its_prefix(state: State) -> None:
    found = find_weights(state, Wrapper().state_dict(), "file")
    assert found.state == under("module.", state)
    assert found.said == ("put module. before each name",)


def test_running_means_are_taken_and_how_to_take_the_others_is_said(state: State) -> None:
    zeros = {name: value * 0 for name, value in state.items()}
    content = {"state_dict": zeros, "state_dict_ema": state, "epoch": 3}
    found = find_weights(content, network().state_dict(), "run.pt")
    assert found.state is state
    assert found.said == (
        "taken from 'state_dict_ema'",
        "'state_dict' would fit as well: --weights run.pt:state_dict takes it",
    )
    assert find_weights(content, network().state_dict(), "run.pt", "state_dict").state is zeros
    with pytest.raises(ModelError, match="holds no state dict under 'model'; it has state_dict, state_dict_ema"):
        find_weights(content, network().state_dict(), "run.pt", "model")


def test_a_key_is_given_after_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "a:b.pt"
    file.write_bytes(b"")
    assert split_key(str(file)) == (file, None)
    assert split_key(f"{file}:ema") == (file, "ema")
    assert split_key("~/a:b.pt:ema") == (file, "ema")
    assert split_key("/nowhere/x.pt") == (Path("/nowhere/x.pt"), None)


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_shards_are_joined_by_their_index(kind: str, state: State, tmp_path: Path) -> None:
    names = list(state)
    parts = {f"part-{number}.{kind}": names[number::2] for number in range(2)}
    for file, some in parts.items():
        chosen = {name: state[name] for name in some}
        (torch.save if kind == "bin" else save_file)(chosen, tmp_path / file)
    weight_map = {name: file for file, some in parts.items() for name in some}
    index = tmp_path / f"model.{kind}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert sorted(read_weights(index)) == sorted(names)


def test_a_file_with_other_objects_is_refused_with_the_lines_that_make_it_safe(state: State, tmp_path: Path) -> None:
    file = tmp_path / "with_namespace.pth"
    torch.save({"model": state, "args": argparse.Namespace(lr=0.1)}, file)
    with pytest.raises(ModelError) as refused:
        read_weights(file)
    message = str(refused.value)
    assert "argparse.Namespace" in message
    assert "\x1b" not in message
    assert "\n" not in message
    lines = message.partition("its weights alone: ")[2].partition("  #")[0].replace("with_namespace-weights", "")
    program = lines.replace('".pth"', repr(str(tmp_path / "safe.pth")))
    exec(program, {"torch": torch})  # the user's two lines, on a file that this test wrote
    found = find_weights(read_weights(tmp_path / "safe.pth"), network().state_dict(), "safe.pth")
    assert all(torch.equal(found.state[name], state[name]) for name in state)


def test_half_a_file_is_refused(state: State, tmp_path: Path) -> None:
    file = tmp_path / "torn.pt"
    torch.save(state, file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"torn\.pt is truncated or no PyTorch file"):
        read_weights(file)


def test_a_file_without_weights_is_refused() -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        find_weights({"epoch": 3}, network().state_dict(), "file")
