from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.core.errors import InputError
from bench.train.artefacts import load_weights


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


@pytest.mark.parametrize("wrap", [None, "model_state_dict", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_are_found_bare_or_nested(network: nn.Module, tmp_path: Path, wrap: str | None, prefix: str) -> None:
    state = {f"{prefix}{name}": torch.full_like(value, 7) for name, value in network.state_dict().items()}
    torch.save({"epoch": 3, wrap: state} if wrap else state, tmp_path / "w.pt")
    load_weights(tmp_path / "w.pt", network)
    assert all((value == 7).all() for value in network.state_dict().values())


def _refusal(network: nn.Module, content: object, path: Path) -> str:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    if content is not None:
        torch.save(content, path)
    with pytest.raises(InputError) as caught:
        load_weights(path, network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_misfitting_weights_say_what_and_touch_nothing(network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict()
    state["0.weight"] = torch.zeros(3, 5)
    state["0.bias"] = torch.zeros(())
    for name in ("1.weight", "1.bias", "1.running_mean", "1.running_var"):
        del state[name]
    state["head.weight"] = torch.zeros(1)
    message = _refusal(network, state, tmp_path / "w.pt")
    assert "missing 1.weight, 1.bias, 1.running_mean and 1 more; unexpected head.weight;" in message
    assert "0.weight is 3x5 in the file and 3x4 in the network, 0.bias is a single number in the file" in message


def test_a_missing_batch_counter_is_no_misfit(network: nn.Module, tmp_path: Path) -> None:
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("tracked")}
    torch.save(state, tmp_path / "w.pt")
    load_weights(tmp_path / "w.pt", network)


@pytest.mark.parametrize("content", [{}, [1], {"epoch": 1}, {"weight": 3.0}, torch.zeros(3)])
def test_a_file_without_weights_says_what_is_allowed(network: nn.Module, tmp_path: Path, content: object) -> None:
    assert "holds no weights: a state dict is allowed" in _refusal(network, content, tmp_path / "w.pt")


def test_a_whole_pickled_network_is_not_unpickled(network: nn.Module, tmp_path: Path) -> None:
    assert "torch.save(content.state_dict(), " in _refusal(network, network, tmp_path / "w.pt")


def test_a_truncated_or_missing_file_is_named(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    assert "is missing" in _refusal(network, None, path)
    torch.save(network.state_dict(), path)
    os.truncate(path, path.stat().st_size // 2)
    assert "is truncated" in _refusal(network, None, path)
