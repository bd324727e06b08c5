from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import InputError, Unsupported
from bench.core.recipes import RECIPES
from bench.core.records import Case, Measurement, Peak, from_json, to_json
from bench.core.workspace import Workspace, sha256_of
from bench.data.images import load_dataset
from bench.experiments import training
from bench.experiments.training_record import peaks_of
from bench.measure.quality import digest, read_predictions
from bench.train.checkpoint import load_weights
from bench.train.evaluate import evaluate_split
from bench.train.state import begin
from models import classifier

pytestmark = pytest.mark.slow

CASE = Case(
    experiment="training",
    model="cnn_small",
    dataset="mnist5k",
    image_size=32,
    device="cpu",
    threads=1,
    budget="quick",
    recipe="note4_cnn_small",
    pipeline="dataloader",
    batch_size=0,
    options=(("epoch_images", 200), ("test_images", 150), ("train_images", 600)),
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread and no loader workers: forking them takes longer than these trainings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("bench.train.training.workers_of", lambda recipe, settings: 0)
    yield
    torch.set_num_threads(threads)


def _values(measurement: Measurement) -> dict[str, float]:
    return {name: figure.value for name, figure in measurement.figures.items()}


def _files(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.artefacts.iterdir()}


def test_a_short_training_learns_and_says_all_that_it_did(workspace: Workspace) -> None:
    case = replace(CASE, options=(("epoch_images", 2_000), ("train_images", 6_000)))
    found = training.run(case, workspace)
    assert from_json(Measurement, to_json(found)) == found
    assert found.quality is not None
    assert found.quality.value > 0.7
    assert found.quality.samples == 1_000
    share = found.quality.value
    assert found.quality.standard_error == pytest.approx(math.sqrt(share * (1 - share) / 1_000))
    values = _values(found)
    exact = {"epochs": 3, "images_per_epoch": 2_000, "training_images": 4_000, "parameters": 43_626}
    assert {name: values[name] for name in exact} == exact
    assert all(found.figures[name].exact for name in exact)
    assert values["test_accuracy_last"] == share
    assert values["test_accuracy_as_noted"] < share  # dropout was left on
    assert values["test_loss_as_noted"] > values["test_loss"]
    assert values["images_per_second"] == pytest.approx(2_000 / float(np.median(found.seconds)))
    assert (len(found.seconds), found.items_per_step) == (3, 2_000)
    assert set(found.series) == {"train_loss", "train_accuracy", "last_batch_loss"}
    assert values["last_batch_loss"] == found.series["last_batch_loss"][-1]
    assert not {"test_accuracy_chosen", "chosen_epoch", "validation_accuracy"} & set(values)
    assert found.artefact is not None
    assert found.weights_sha256 == sha256_of(workspace.artefacts / found.artefact)
    assert _files(workspace) == {found.artefact}
    assert any("not flipped" in note for note in found.notes)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_peaks_are_those_of_one_step_after_the_training(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """On a GPU too, whose first steps hold what cuDNN tries."""
    dataset = training.dataset_for(CASE, workspace)
    network = training.initialised(CASE, lambda: classifier("cnn_small").build(10), dataset)
    planned = training.training_of(CASE, workspace, dataset, network)
    state = begin(planned)
    peak = Peak(phase="steady", kind="rss", bytes=7)
    stepped: list[int] = []

    def one_step(step: Callable[[], object], on: torch.device) -> list[Peak]:
        assert on == torch.device(device)
        step()
        return [peak]

    def count(*batch: torch.Tensor) -> None:
        stepped.append(len(batch[1]))

    monkeypatch.setattr("bench.experiments.training_record.memory.steady_peaks", one_step)
    trained: Any = SimpleNamespace(feed=state.feed, step=count)
    assert peaks_of(replace(planned, device=torch.device(device)), trained) == (peak,)
    assert stepped == [planned.recipe.batch_size]


def test_its_weights_give_its_accuracy_and_its_predictions(workspace: Workspace) -> None:
    found = training.run(CASE, workspace)
    assert found.artefact is not None
    network = classifier("cnn_small").build(10)
    load_weights(workspace.artefacts / found.artefact, network)
    dataset = load_dataset("mnist5k", data_dir=workspace.data_dir, progress=print)
    again = evaluate_split(
        network,
        dataset.test,
        recipe=RECIPES["note4_cnn_small"],
        dataset=dataset,
        image_size=32,
        device=torch.device("cpu"),
        indices=np.arange(150),
    )
    assert found.quality is not None
    assert found.quality.value == again.accuracy
    assert found.quality.predictions is not None
    assert found.quality.predictions.sha256 == digest(again.predictions)
    stored = read_predictions(workspace.predictions, Path(found.quality.predictions.path).stem)
    assert stored is not None
    assert stored.tolist() == again.predictions.tolist()
    kept = torch.load(workspace.artefacts / found.artefact, weights_only=True)
    assert kept["classes"] == list(dataset.classes)
    assert kept["epoch"] == 3


def test_a_recipe_that_chooses_reports_last_and_chosen(workspace: Workspace) -> None:
    found = training.run(replace(CASE, recipe="note4_cnn_small_heldout"), workspace)
    values = _values(found)
    assert values["training_images"] == 3_500
    accuracies = found.series["validation_accuracy"]
    assert values["validation_accuracy"] == max(accuracies)
    assert values["chosen_epoch"] == accuracies.index(max(accuracies)) + 1
    assert found.quality is not None
    assert found.quality.value == values["test_accuracy_chosen"]
    assert found.artefact is not None
    assert found.artefact.endswith("-best.pt")
    assert _files(workspace) == {found.artefact, found.artefact.replace("-best", "")}


def test_the_chosen_epoch_is_the_one_that_counts(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen is the first of three epochs: last and chosen weights and accuracies must not be mixed up."""
    accuracies = iter([0.9, 0.8, 0.7])
    monkeypatch.setattr(
        "bench.train.loop._judge", lambda *_: {"validation_loss": 1.0, "validation_accuracy": next(accuracies)}
    )
    found = training.run(replace(CASE, recipe="note4_cnn_small_heldout"), workspace)
    first = training.run(
        replace(
            CASE,
            recipe="note4_cnn_small_heldout",
            budget="one epoch",
            options=(("epoch_images", 200), ("test_images", 150), ("train_images", 200)),
        ),
        _with_judge(workspace, monkeypatch),
    )
    values = _values(found)
    assert values["chosen_epoch"] == 1
    assert values["test_accuracy_chosen"] == _values(first)["test_accuracy_chosen"]
    assert found.quality is not None
    assert first.quality is not None
    assert found.quality.predictions is not None
    assert first.quality.predictions is not None
    assert found.quality.predictions.sha256 == first.quality.predictions.sha256
    assert values["test_loss"] == _values(first)["test_loss"]
    last, chosen = (torch.load(workspace.artefacts / name, weights_only=True) for name in _last_and_chosen(found))
    assert (last["epoch"], chosen["epoch"]) == (3, 1)
    assert not torch.equal(*(kept["model_state_dict"]["classifier.1.weight"] for kept in (last, chosen)))


def _with_judge(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr("bench.train.loop._judge", lambda *_: {"validation_loss": 1.0, "validation_accuracy": 0.9})
    return workspace


def _last_and_chosen(found: Measurement) -> tuple[str, str]:
    assert found.artefact is not None
    return found.artefact.replace("-best", ""), found.artefact


def test_an_interrupted_training_goes_on_and_ends_the_same(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training.run(CASE, replace(workspace, results=tmp_path / "through"))

    def stop(line: str) -> None:
        if "epoch 3/3 took" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(CASE, replace(workspace, progress=stop))
    assert [name for name in _files(workspace) if name.endswith(".partial.pt")]
    spent: list[Path] = []

    def traced(measurement: Measurement, *_: object) -> Measurement:
        assert list(workspace.artefacts.glob("*.partial.pt"))  # what is traced may crash
        return measurement

    monkeypatch.setattr(training, "traced", traced)
    found = training.run(CASE, replace(workspace, spent=spent.append))
    assert any(path.exists() for path in spent)  # the engine removes them once the outcome is in the journal
    for path in spent:
        path.unlink(missing_ok=True)
    assert any("resumed after epoch 2 of 3" in note for note in found.notes)
    assert found.series == whole.series
    assert found.quality is not None
    assert whole.quality is not None
    assert found.quality.value == whole.quality.value
    assert found.artefact == whole.artefact
    assert found.weights_sha256 == whole.weights_sha256  # bit for bit, and the file tells nothing else
    assert _files(workspace) == {found.artefact}


def test_another_training_in_the_checkpoints_place_is_refused(workspace: Workspace) -> None:
    def stop(line: str) -> None:
        if "epoch 2/3 took" in line:
            raise KeyboardInterrupt

    partial: list[Path] = []
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            training.run(replace(CASE, seed=seed), replace(workspace, progress=stop))
        partial += set(workspace.artefacts.glob("*.partial.pt")) - set(partial)
    partial[1].write_bytes(partial[0].read_bytes())
    with pytest.raises(InputError, match="is a checkpoint of seed 0, not of seed 1: remove it"):
        training.run(replace(CASE, seed=1), workspace)


def test_what_cannot_be_trained_is_named(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "def small(): return nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))\n"
        "def wrong(): return nn.Linear(7, 10)\n"
    )
    mine = replace(CASE, recipe=None)
    refusals = {
        replace(CASE, recipe="note2_cnn_vgg"): "recipe 'note2_cnn_vgg' trains cnn_vgg",
        replace(mine, model=f"{file}:small"): r"returns shape \(2, 4\) for 2 images: .* K at least 10",
        replace(mine, model=f"{file}:wrong"): "raises RuntimeError on 2 images of 3x32x32",
        replace(mine, options=(("train_images", 0),)): "option train_images of a training is 0",
    }
    for case, said in refusals.items():
        with pytest.raises(InputError, match=said):
            training.run(case, workspace)
    with pytest.raises(Unsupported, match=r"training at bf16 .* fp32, tf32, bf16_autocast"):
        training.run(replace(CASE, precision="bf16"), workspace)


def test_the_users_own_network_is_trained_by_the_users_recipe(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "def net(classes): return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, classes))\n"
    )
    case = replace(CASE, model=f"{file}:net", recipe=None)
    found = training.run(case, workspace)
    values = _values(found)
    assert values["test_accuracy_as_noted"] == values["test_accuracy_chosen"]
    assert values["training_images"] == 3_500
