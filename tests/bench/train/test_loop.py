"""Trainings that resume with the same bits, and their curves."""

from __future__ import annotations

import copy
import importlib.util
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.core.errors import InputError
from bench.core.recipes import RECIPES
from bench.core.records import Case
from bench.core.workspace import TRACKERS as NAMES
from bench.core.workspace import Workspace
from bench.data.augmentation import training_augmentation
from bench.data.pipelines import ImageTensors, loader_for_epoch
from bench.train import checkpoint
from bench.train.checkpoint import Checkpoint, best_path
from bench.train.loop import TRACKERS, Diverged, TensorBoard, Tracker, WeightsAndBiases, curve, tracker_of, train
from bench.train.step import Settings
from bench.train.training import Schedule, Trained, Training, split_indices

RECIPE = replace(
    RECIPES["user"], select="last", batch_size=8, workers=0, crop_padding=1, learning_rate=0.01, normalize="half"
)
CHOOSING = replace(RECIPE, select="validation")
ONE_CYCLE = replace(
    RECIPE, optimizer="sgd", momentum=0.9, nesterov=True, one_cycle=0.25, averaging=0.9, label_smoothing=0.1
)
"""With all that moves by the step."""
SGD = replace(RECIPE, optimizer="sgd", momentum=0.9, weight_decay=0.01, learning_rate=0.05)
Make = Callable[..., Training]
Kill = Callable[[Training, int], None]


def _weights(training: Training) -> dict[str, list[float]]:
    return {name: value.tolist() for name, value in training.network.state_dict().items()}


def _without_seconds(trained: Trained) -> dict[str, list[float]]:
    return {name: values for name, values in trained.history.items() if name != "seconds"}


def test_it_learns_and_keeps_one_number_an_epoch(make: Make) -> None:
    upright = replace(RECIPE, flip=False)  # mirrored, the outer stripes change places
    trained = train(make(recipe=upright, schedule=Schedule(epochs=6, images_per_epoch=60)))
    assert {name: len(values) for name, values in trained.history.items()} == dict.fromkeys(
        ["seconds", "train_loss", "train_accuracy", "last_batch_loss"], 6
    )
    assert trained.history["train_loss"][-1] < trained.history["train_loss"][0]
    assert trained.history["train_accuracy"][-1] > 0.8
    assert (trained.resumed_after, trained.chosen) == (0, None)


@pytest.mark.parametrize("recipe", [RECIPE, SGD], ids=["adam", "sgd"])
def test_an_epoch_is_what_a_plain_loop_does(make: Make, recipe: Any) -> None:
    """Loss of the last mini-batch included, as the notes print it; dropout is off so that no draw is in the way."""
    training = make(recipe=recipe, schedule=Schedule(epochs=2, images_per_epoch=60, milestones=(1,)))
    training.network[4].p = 0.0  # type: ignore[index]  # a Sequential
    network = copy.deepcopy(training.network)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[recipe.optimizer]
    extra = {"momentum": 0.9, "weight_decay": 0.01} if recipe is SGD else {}
    optimizer = kind(network.parameters(), lr=recipe.learning_rate, **extra)
    losses, counts, right = [], [], 0
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = recipe.learning_rate / 10**epoch
        loader = loader_for_epoch(
            training.dataset.train,
            np.arange(60),
            augmentation=training_augmentation(recipe, training.dataset),
            image_size=8,
            batch_size=8,
            workers=0,
            shuffle=True,
            seed=0,
            epoch=epoch,
        )
        for images, labels in loader:
            logits = network(images)
            loss = nn.CrossEntropyLoss()(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if epoch == 1:
                losses.append(loss.item())
                counts.append(len(labels))
                right += int((logits.argmax(1) == labels).sum())
    trained = train(training)
    assert _weights(training) == {name: value.tolist() for name, value in network.state_dict().items()}
    assert trained.history["last_batch_loss"][1] == losses[-1]
    assert trained.history["train_loss"][1] == pytest.approx(np.average(losses, weights=counts), rel=1e-6)
    assert trained.history["train_accuracy"][1] == right / 60


@pytest.mark.parametrize("recipe", [RECIPE, SGD, CHOOSING, ONE_CYCLE], ids=["adam", "sgd", "choosing", "one cycle"])
@pytest.mark.parametrize("images", [48, 30])
def test_a_resumed_training_gives_the_same_bits(make: Make, kill_after: Kill, recipe: Any, images: int) -> None:
    plan = Schedule(epochs=4, images_per_epoch=images, milestones=(3,))
    through = make(recipe=recipe, schedule=plan)
    whole = train(through)
    through.checkpoint.unlink()
    torch.manual_seed(99)  # whatever the generators held
    kill_after(make(recipe=recipe, schedule=plan), 2)
    resumed = make(recipe=recipe, schedule=plan)
    for parameter in resumed.network.parameters():
        torch.nn.init.zeros_(parameter)  # all must come from the checkpoint
    trained = train(resumed)
    assert trained.resumed_after == 2
    assert _without_seconds(trained) == _without_seconds(whole)
    assert _weights(resumed) == _weights(through)
    if whole.chosen is not None:
        assert trained.chosen is not None
        assert trained.chosen["epoch"] == whole.chosen["epoch"]


def test_a_seed_is_a_training(make: Make) -> None:
    first, second, other = (make(seed=seed) for seed in (0, 0, 1))
    for training in (first, second, other):
        train(training)
        training.checkpoint.unlink()
    assert _weights(first) == _weights(second)
    assert _weights(first) != _weights(other)


def test_a_network_that_comes_in_evaluation_mode_is_trained_all_the_same(make: Make) -> None:
    usual, handed_over = make(), make()
    handed_over.network.eval()
    train(usual)
    usual.checkpoint.unlink()
    train(handed_over)
    assert _weights(usual) == _weights(handed_over)


def test_a_checkpoint_follows_every_epoch_but_the_last(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = checkpoint.save

    def noting(path: Path, found: Checkpoint) -> None:
        saved.append(found.epoch)
        save(path, found)

    monkeypatch.setattr(checkpoint, "save", noting)
    training = make()
    trained = train(training)
    assert saved == [1, 2, 3]
    kept = torch.load(training.checkpoint, weights_only=True)
    assert kept["loss"] == trained.history["last_batch_loss"][2]
    assert len(kept["history"]["seconds"]) == 3
    assert kept["optimizer_state_dict"]["param_groups"][0]["lr"] == pytest.approx(0.001)


def test_the_best_epoch_is_kept_beside_the_last(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.5, 0.75, 0.75, 0.25])
    monkeypatch.setattr(
        "bench.train.loop._judge", lambda *_: {"validation_loss": 1.0, "validation_accuracy": next(accuracies)}
    )
    states: list[dict[str, list[float]]] = []
    training = make(recipe=CHOOSING, schedule=Schedule(epochs=4, images_per_epoch=48))
    trained = train(replace(training, progress=lambda line: states.append(_weights(training))))
    assert trained.chosen is not None
    assert (trained.chosen["epoch"], trained.chosen["validation_accuracy"]) == (2, 0.75)
    best = {name: value.tolist() for name, value in trained.chosen["model_state_dict"].items()}
    assert best == states[1]
    assert _weights(training) == states[3] != states[1]
    assert best_path(training.checkpoint).is_file()


def test_a_stale_best_epoch_of_an_earlier_attempt_does_not_count(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make(recipe=CHOOSING, schedule=Schedule(epochs=1, images_per_epoch=48))
    checkpoint.write(best_path(training.checkpoint), {"epoch": 9, "validation_accuracy": 1.0, "identity": {}})
    trained = train(training)
    assert trained.chosen is not None
    assert trained.chosen["epoch"] == 1


def test_a_best_epoch_of_another_training_is_refused(make: Make, kill_after: Kill) -> None:
    training = make(recipe=CHOOSING, schedule=Schedule(epochs=3, images_per_epoch=48))
    kill_after(training, 1)
    checkpoint.write(best_path(training.checkpoint), {"epoch": 1, "identity": {"model": "other"}})
    with pytest.raises(InputError, match=r"tiny\.partial-best\.pt is of another training"):
        train(training)


def test_held_out_images_are_judged_but_not_trained_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make(recipe=CHOOSING, schedule=Schedule(epochs=2, images_per_epoch=48))
    kept, held_out = split_indices(CHOOSING, training.dataset)
    assert (len(kept), len(held_out), set(kept) & set(held_out)) == (48, 12, set())
    fed: list[set[int]] = []
    epoch = ImageTensors.epoch

    def noting(tensors: ImageTensors, rows: NDArray[np.int64], **more: Any) -> Any:
        fed.append(set(rows))
        return epoch(tensors, rows, **more)

    monkeypatch.setattr(ImageTensors, "epoch", noting)
    trained = train(training)
    assert fed == [set(kept), set(kept)]
    assert [len(trained.history[f"validation_{name}"]) for name in ("loss", "accuracy")] == [2, 2]
    assert len(split_indices(RECIPE, training.dataset)[1]) == 0


def test_a_single_image_left_over_is_not_trained_on(make: Make) -> None:
    sizes: list[int] = []
    training = make(schedule=Schedule(epochs=1, images_per_epoch=17))
    training.network.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    train(training)
    before_the_epoch, *in_the_epoch = sizes
    assert (before_the_epoch, in_the_epoch) == (8, [8, 8])


def test_progress_tells_epoch_images_speed_and_loss(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.train.loop.PROGRESS_SECONDS", 0.0)
    lines: list[str] = []
    watched: list[int] = []
    notes_loop = Settings(pipeline="dataloader", workers=0)
    train(make(recipe=CHOOSING, schedule=Schedule(epochs=2, images_per_epoch=48), progress=lines.append,
               settings=notes_loop, watch=lambda: watched.append(1)))  # fmt: skip
    assert lines[0].startswith("tiny: epoch 1/2, 8/48 images, ")
    assert "images/s, loss " in lines[0]
    assert lines[6].startswith("tiny: epoch 1/2 took ")
    assert ", accuracy " in lines[6]
    assert ", held out " in lines[6]
    assert len(lines) == 14
    assert len(watched) == 2


def test_a_quick_epoch_is_one_line(make: Make) -> None:
    lines: list[str] = []
    train(make(progress=lines.append))
    assert len(lines) == 4


def test_a_loss_that_is_no_number_ends_it(make: Make) -> None:
    training = make(recipe=replace(SGD, learning_rate=1e30))
    with pytest.raises(
        Diverged, match=r"tiny: the loss is .* after epoch 1: recipe user diverged; its learning rate of 1e\+30"
    ):
        train(training)
    assert not training.checkpoint.exists()


def test_a_checkpoint_that_does_not_fit_is_refused(make: Make, kill_after: Kill) -> None:
    kill_after(make(), 3)
    with pytest.raises(InputError, match="checkpoint of model tiny, not of model other"):
        train(make(identity={"model": "other"}))
    with pytest.raises(InputError, match=r"the weights in .*tiny\.partial\.pt do not fit the network: missing weight"):
        train(make(network=nn.Linear(3, 3)))
    path = make().checkpoint
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is truncated"):
        train(make())


def test_a_network_without_parameters_is_refused(make: Make) -> None:
    with pytest.raises(InputError, match="no parameter to train"):
        train(make(network=nn.Flatten()))


def test_frozen_layers_stay(make: Make) -> None:
    training = make(recipe=SGD, schedule=Schedule(epochs=1, images_per_epoch=60))
    frozen: Tensor = training.network[0].weight  # type: ignore[index]  # a Sequential
    frozen.requires_grad_(False)
    before = frozen.clone()
    train(training)
    assert torch.equal(frozen, before)


def test_patience_ends_a_training_early(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.9, 0.8, 0.85, float("nan"), 0.7])
    monkeypatch.setattr(
        "bench.train.loop._judge", lambda *_: {"validation_loss": next(losses), "validation_accuracy": 0.5}
    )
    training = make(
        recipe=replace(make().recipe, select="validation", patience=2), schedule=Schedule(epochs=5, images_per_epoch=48)
    )
    trained = train(training)
    assert len(trained.history["seconds"]) == 4
    assert trained.history["validation_loss"][:3] == [0.9, 0.8, 0.85]


def test_a_training_warms_up_before_its_first_epoch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("bench.train.loop.warm_up", lambda *_: told.append("warm"))
    train(make(progress=told.append))
    assert told[0] == "warm"
    assert told.count("warm") == 1


def test_a_slow_reading_of_the_gpu_is_in_no_epochs_seconds(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NVML answers: a hundred seconds here, on a clock that nothing else moves."""
    now = [0.0]
    monkeypatch.setattr("bench.train.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def reading() -> None:
        now[0] += 100.0

    trained = train(make(watch=reading))
    assert now[0] == 100.0 * len(trained.history["seconds"])
    assert set(trained.history["seconds"]) == {0.0}


CASE = Case(
    experiment="training",
    model="tiny",
    dataset="stripes",
    image_size=8,
    device="cpu",
    threads=1,
    budget="smoke",
    recipe="user",
    pipeline="dataloader",
)
Make = Callable[..., Training]
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(results=tmp_path / "results", data_dir=tmp_path, fingerprint="a run")


def points(workspace: Workspace) -> dict[str, list[tuple[int, float]]]:
    """Curves as TensorBoard itself reads them: epochs and values by name."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = EventAccumulator(str(workspace.tensorboard / CASE.name / CASE.id)).Reload()
    return {
        tag: [(event.step, make_ndarray(event.tensor_proto).item()) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def running() -> set[object]:
    """Threads and processes besides the main thread."""
    threads = {thread.name for thread in threading.enumerate() if thread is not threading.main_thread()}
    return {*threads, *(child.pid for child in psutil.Process().children(recursive=True))}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_loss", "loss/train"),
        ("validation_accuracy", "accuracy/validation"),
        ("test_loss", "loss/test"),
        ("last_batch_loss", "loss/last_batch"),
        ("seconds", "seconds"),
    ],
)
def test_curves_of_one_quantity_stand_together(name: str, expected: str) -> None:
    assert curve(name) == expected


@needs_tensorboard
def test_an_epoch_can_be_read_as_soon_as_it_is_written(workspace: Workspace) -> None:
    tracker = TensorBoard(CASE, workspace)
    before = running()
    tracker.write(1, {"train_loss": 2.5})
    assert points(workspace) == {"loss/train": [(1, 2.5)]}
    tracker.write(2, {"train_loss": 1.5, "validation_accuracy": 0.75})
    assert points(workspace) == {"loss/train": [(1, 2.5), (2, 1.5)], "accuracy/validation": [(2, 0.75)]}
    assert running() == before


@needs_tensorboard
def test_a_training_that_goes_on_goes_on_in_its_curve(workspace: Workspace) -> None:
    """Killed after epoch 3 was drawn and before its checkpoint: epoch 3 comes again, and the curve has it once."""
    killed, resumed = TensorBoard(CASE, workspace), TensorBoard(CASE, workspace)
    for epoch, loss in ((1, 4.0), (2, 3.0), (3, 2.0)):
        killed.write(epoch, {"train_loss": loss})
    for epoch, loss in ((3, 2.5), (4, 1.0)):
        resumed.write(epoch, {"train_loss": loss})
    assert points(workspace) == {"loss/train": [(1, 4.0), (2, 3.0), (3, 2.5), (4, 1.0)]}
    TensorBoard(CASE, workspace).write(1, {"train_loss": 5.0})
    assert points(workspace) == {"loss/train": [(1, 5.0)]}


@needs_tensorboard
def test_the_loop_writes_its_history_after_each_epoch(
    make: Make, kill_after: Callable[[Training, int], None], workspace: Workspace
) -> None:
    track = tracker_of(CASE, replace(workspace, track=("tensorboard",)))
    choosing = replace(make().recipe, select="validation")
    kill_after(make(recipe=choosing, track=track), 2)
    assert [epoch for epoch, _ in points(workspace)["loss/train"]] == [1, 2, 3]
    again = tracker_of(CASE, replace(workspace, track=("tensorboard",)))
    trained = train(make(recipe=choosing, track=again))
    assert trained.resumed_after == 2
    found = points(workspace)
    assert set(found) == {curve(name) for name in trained.history}
    assert {"loss/train", "accuracy/train", "loss/validation", "accuracy/validation"} <= set(found)
    for name, values in trained.history.items():
        expected = list(enumerate(map(pytest.approx, values), start=1))
        if name != "seconds":
            assert found[curve(name)] == expected


def test_the_tracker_is_asked_outside_the_clock(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only the tracker moves forward, epochs take no time."""
    now = [0.0]
    monkeypatch.setattr("bench.train.loop.time.perf_counter", lambda: now[0])

    def track(epoch: int, values: Any) -> None:
        now[0] += 100

    trained = train(make(track=track))
    assert now[0] == 400
    assert trained.history["seconds"] == [0.0] * 4


def test_curves_that_cannot_be_written_do_not_end_a_training(
    make: Make, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, lines = [], []

    class Full:
        def __init__(self, case: Case, workspace: Workspace) -> None:
            """Nothing is opened yet."""

        def write(self, epoch: int, values: Any) -> None:
            asked.append(epoch)
            if epoch == 2:
                raise OSError(28, "No space left on device")

    fakes: dict[str, type[Tracker]] = {"full": Full}
    monkeypatch.setattr("bench.train.loop.TRACKERS", fakes)
    track = tracker_of(CASE, replace(workspace, track=("full",), progress=lines.append))
    assert len(train(make(track=track)).history["seconds"]) == 4
    assert asked == [1, 2]
    assert len(lines) == 1
    assert "curves in full stop here (OSError" in lines[0]


def test_every_name_of_the_options_has_a_tracker() -> None:
    assert set(TRACKERS) == set(NAMES)


@needs_wandb
def test_weights_and_biases_offline(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch has a file, whole before the next begins; all are of one run, which ``wandb sync`` knows."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    workspace.results.mkdir()
    before = running()
    for epoch in (1, 2):
        WeightsAndBiases(CASE, workspace).write(epoch, {"train_loss": 1 / epoch, "train_accuracy": 0.5})
        assert running() == before
    files = sorted(workspace.results.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert len({file.name for file in files}) == 1
    for file in files:
        assert all(name in file.read_bytes() for name in (b"loss/train", b"accuracy/train", b"epoch"))
    other = WeightsAndBiases(CASE, replace(workspace, fingerprint="other code"))
    other.write(1, {"train_loss": 1.0})
    assert len({file.name for file in workspace.results.glob("wandb/offline-run-*/run-*.wandb")}) == 2
