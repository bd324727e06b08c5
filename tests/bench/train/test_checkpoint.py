"""Checkpoints that survive a kill, and weights read from files of every layout."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.core.errors import InputError
from bench.train import checkpoint
from bench.train.checkpoint import Checkpoint, load_weights

IDENTITY: dict[str, str | int] = {"model": "cnn_small", "recipe": "note4_cnn_small", "seed": 0}


def _checkpoint(epoch: int) -> Checkpoint:
    return Checkpoint(
        epoch=epoch,
        model_state_dict={"weight": torch.full((100, 100), float(epoch))},
        averaged_state_dict={},
        optimizer_state_dict={"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        scheduler_state_dict={"last_epoch": epoch},
        loss=1.5,
        history={"train_loss": [2.0] * epoch},
        identity=IDENTITY,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "artefacts" / "net.partial.pt"
    checkpoint.save(path, _checkpoint(1))
    return path


def test_a_checkpoint_is_one_plain_dict(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    assert {"epoch", "model_state_dict", "optimizer_state_dict", "loss"} <= content.keys()
    assert (content["epoch"], content["loss"], content["history"]) == (1, 1.5, {"train_loss": [2.0]})
    found = checkpoint.load(path, IDENTITY)
    assert torch.equal(found.model_state_dict["weight"], torch.ones(100, 100))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("moment", ["torch.save", "os.fsync", "os.replace"])
def test_a_kill_while_writing_leaves_the_previous_one_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def killed(*arguments: object) -> None:
        if moment == "torch.save":
            arguments[1].write(b"PK half of it")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    module, name = {"torch": torch, "os": os}[moment.split(".")[0]], moment.split(".")[1]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(path, _checkpoint(2))
    assert checkpoint.load(path, IDENTITY).epoch == 1
    checkpoint.save(path, _checkpoint(3))
    assert checkpoint.load(path, IDENTITY).epoch == 3
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_bytes_reach_the_disk_before_the_name_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noting(name: str) -> None:
        call = getattr(os, name)

        def noted(*arguments: Any) -> None:
            order.append(name)
            call(*arguments)

        monkeypatch.setattr(os, name, noted)

    noting("fsync")
    noting("replace")
    checkpoint.save(path, _checkpoint(2))
    assert order[:2] == ["fsync", "replace"]


@pytest.mark.parametrize("size", [0, 10, 3_000, -1])
def test_a_truncated_checkpoint_is_named(path: Path, size: int) -> None:
    os.truncate(path, size if size >= 0 else path.stat().st_size - 1)
    with pytest.raises(InputError, match=r"net\.partial\.pt is truncated or no PyTorch file") as caught:
        checkpoint.load(path, IDENTITY)
    assert "\n" not in str(caught.value)


class Foreign:
    """Something that a file of tensors must not bring along."""


@pytest.mark.parametrize("content", [b"\x89PNG not weights", b"", Foreign()])
def test_a_foreign_file_is_named_and_never_unpickled(path: Path, content: object) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save({"model": content}, path)
    with pytest.raises(InputError, match="tensors and plain values") as caught:
        checkpoint.load(path, IDENTITY)
    assert "\n" not in str(caught.value)


def test_weights_alone_are_no_checkpoint(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"no checkpoint of a training, it lacks epoch, model_state_dict"):
        checkpoint.load(path, IDENTITY)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match=r"no checkpoint of a training"):
        checkpoint.load(path, IDENTITY)
    torch.save(dict.fromkeys(checkpoint.FIELDS), path)
    with pytest.raises(InputError, match=r"no checkpoint of a training"):
        checkpoint.load(path, IDENTITY)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "cnn_vgg"}, "is a checkpoint of model cnn_vgg, not of model cnn_small"),
        ({"recipe": "user"}, "is a checkpoint of recipe user, not of recipe note4_cnn_small"),
        ({"seed": 1, "extra": 2}, "is a checkpoint of extra 2, seed 1, not of extra None, seed 0"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(path: Path, changed: dict[str, str | int], said: str) -> None:
    checkpoint.save(path, replace(_checkpoint(1), identity={**IDENTITY, **changed}))
    with pytest.raises(InputError, match=said):
        checkpoint.load(path, IDENTITY)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "artefacts").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*net\.pt: .*; make its folder writable"):
        checkpoint.write(tmp_path / "artefacts" / "net.pt", {})


def test_the_chosen_epoch_lies_beside_the_last() -> None:
    assert checkpoint.best_path(Path("a/net.partial.pt")) == Path("a/net.partial-best.pt")


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
