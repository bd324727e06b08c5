from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.core.errors import InputError
from bench.core.records import Case
from bench.train import artefacts
from bench.train.artefacts import artefact_name, load_weights, recipe_of, training_code

CASE = Case(
    experiment="training",
    model="cnn_small",
    dataset="mnist5k",
    image_size=32,
    device="cpu",
    threads=2,
    budget="quick",
    recipe="note4_cnn_small",
    options=(("test_images", 100), ("train_images", 500)),
)


def _name(**changed: object) -> str:
    return artefact_name(replace(CASE, **changed), "data", "code")  # type: ignore[arg-type]  # any field


def test_name_depends_on_all_that_shapes_the_weights() -> None:
    names = [
        _name(),
        _name(recipe="note4_cnn_small_heldout"),
        _name(seed=1),
        _name(budget="full"),
        _name(image_size=40),
        _name(device="cuda"),
        _name(options=(("test_images", 100), ("train_images", 501))),
        _name(options=(("normalize", "none"), ("test_images", 100), ("train_images", 500))),
        artefact_name(CASE, "other data", "code"),
        artefact_name(CASE, "data", "other code"),
        _name(model="resnet18", recipe="note4_resnet18"),
    ]
    assert len(set(names)) == len(names)


def test_name_depends_on_nothing_else() -> None:
    same = [_name(repeat=1), _name(threads=1), _name(recipe=None), _name(options=(("train_images", 500),))]
    assert set(same) == {_name()}
    assert _name(device="cuda:1") == _name(device="cuda")


def test_name_of_a_recipe_that_chooses_is_that_of_the_chosen_epoch() -> None:
    assert _name().startswith("cnn_small-")
    assert not _name().endswith("-best.pt")
    assert _name(recipe="note4_cnn_small_heldout").endswith("-best.pt")
    assert artefact_name(replace(CASE, model="my nets.py:Big", recipe=None), "d", "c").startswith("Big-")


def test_code_of_the_users_own_network_counts() -> None:
    """Its hash is in the case."""
    names = {_name(model="mine.py:network", recipe=None, options=(("source", code),)) for code in ("one", "other")}
    assert len(names) == 2


def test_code_of_the_suite_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in artefacts.TRAINING_SOURCES:
        assert (artefacts.ROOT / name).exists()
    source = tmp_path / "bench" / "train" / "deep" / "loop.py"
    source.parent.mkdir(parents=True)
    source.write_text("1")
    monkeypatch.setattr(artefacts, "ROOT", tmp_path)
    monkeypatch.setattr(artefacts, "TRAINING_SOURCES", ("bench/train",))
    before = training_code()
    source.write_text("2")
    assert training_code() != before


def test_recipe_of_a_case() -> None:
    assert recipe_of(replace(CASE, recipe=None)).name == "note4_cnn_small"
    assert recipe_of(replace(CASE, options=(("normalize", "none"),))).normalize == "none"
    with pytest.raises(InputError, match="recipe 'note4_cnn_small' trains cnn_small, not 'cnn_vgg'"):
        recipe_of(replace(CASE, model="cnn_vgg"))


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
    assert "0.weight is 3x5 there and 3x4 here, 0.bias is a single number there and 3 here" in message


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
    assert "is not there" in _refusal(network, None, path)
    torch.save(network.state_dict(), path)
    os.truncate(path, path.stat().st_size // 2)
    assert "is truncated" in _refusal(network, None, path)
