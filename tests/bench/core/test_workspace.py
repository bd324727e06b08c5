"""Names of files of weights, and the code that they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core import workspace
from bench.core.errors import InputError
from bench.core.records import Case
from bench.core.workspace import artefact_name, recipe_of, training_code

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
    for name in workspace.TRAINING_SOURCES:
        assert (workspace.ROOT / name).exists()
    source = tmp_path / "bench" / "train" / "deep" / "loop.py"
    source.parent.mkdir(parents=True)
    source.write_text("1")
    monkeypatch.setattr(workspace, "ROOT", tmp_path)
    monkeypatch.setattr(workspace, "TRAINING_SOURCES", ("bench/train",))
    before = training_code()
    source.write_text("2")
    assert training_code() != before


def test_recipe_of_a_case() -> None:
    assert recipe_of(replace(CASE, recipe=None)).name == "note4_cnn_small"
    assert recipe_of(replace(CASE, options=(("normalize", "none"),))).normalize == "none"
    with pytest.raises(InputError, match="recipe 'note4_cnn_small' trains cnn_small, not 'cnn_vgg'"):
        recipe_of(replace(CASE, model="cnn_vgg"))
