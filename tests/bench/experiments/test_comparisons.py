"""Experiments that compare trainings, each on a few images of the carried digits, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.core.amounts import SCOPES
from bench.core.errors import InputError, Unsupported
from bench.core.records import Case, Measurement, from_json, to_json
from bench.core.workspace import Workspace, sha256_of
from bench.data.images import ImageDataset, Split
from bench.experiments import comparisons, training
from bench.experiments.comparisons import freeze_all_but, replace_head
from bench.train.checkpoint import load_weights
from models import classifier
from models.ablations import ABLATIONS

FAST: dict[str, Any] = {"channels_last": True, "products": True, "fused": True}


def case(experiment: str, model: str = "cnn_small", recipe: str = "note4_cnn_small", **options: Any) -> Case:
    given = {"train_images": 128, "test_images": 100, **FAST, **options}
    return Case(
        experiment=experiment,
        model=model,
        dataset="mnist5k",
        image_size=32,
        device="cpu",
        threads=1,
        budget="smoke",
        recipe=recipe,
        pipeline="tensor",
        batch_size=64,
        options=tuple(sorted((name, value) for name, value in given.items() if value is not None)),
    )


def values(measurement: Measurement) -> dict[str, float]:
    assert from_json(Measurement, to_json(measurement)) == measurement
    return {name: figure.value for name, figure in measurement.figures.items()}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_both_pipelines_learn_the_same_and_a_ladder_leaves_no_weights(workspace: Workspace) -> None:
    tensors = case("ladder", channels_last=None, products=None, fused=None, rung=1)
    loaded = replace(
        tensors, pipeline="dataloader", options=tuple(sorted({**dict(tensors.options), "workers": 1}.items()))
    )
    found, expected = (training.run(one, workspace) for one in (tensors, loaded))
    assert found.series["train_loss"] == expected.series["train_loss"]
    assert found.quality is not None
    assert expected.quality is not None
    assert found.quality.value == expected.quality.value
    assert found.artefact is None
    assert not list(workspace.artefacts.glob("*.pt"))


def test_a_cpu_without_instructions_for_bfloat16_says_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "cpu_features", lambda: ("avx2",))
    with pytest.raises(Unsupported, match="no instructions for bfloat16"):
        training.run(replace(case("ladder"), precision="bf16_autocast"), workspace)


RESNET = {"model": "resnet14_cifar", "recipe": "note4_resnet14_cifar"}


@pytest.fixture
def pretrained(workspace: Workspace) -> Workspace:
    found = training.run(case("pretraining", **RESNET, half=1), workspace)
    assert found.artefact is not None
    return replace(workspace, artefact=workspace.artefacts / found.artefact)


def test_transfer_trains_what_its_scope_says(pretrained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained.artefact is not None
    given = classifier("resnet14_cifar").build(5)
    load_weights(pretrained.artefact, given)
    ended = {}
    trained = comparisons.measured

    def keeping(case: Case, *rest: Any) -> Measurement:
        found = trained(case, *rest)
        ended[str(case.option("scope"))] = rest[2].state_dict()
        return found

    monkeypatch.setattr(comparisons, "measured", keeping)
    counts = {}
    for scope in ("scratch", "head", "all"):
        one = case("transfer", **RESNET, source="five_classes", scope=scope, half=2)
        other = replace(one, seed=1)  # from other random weights than the first training
        found = comparisons.run_transfer(other, pretrained)
        counts[scope] = values(found)["trainable_parameters"]
        assert found.artefact == (None if scope == "scratch" else pretrained.artefact.name)  # --resume goes by these
        assert found.weights_sha256 == (None if scope == "scratch" else sha256_of(pretrained.artefact))
        assert found.quality is not None
        assert found.quality.predictions is None  # labels of half the classes pair with nothing
    whole = values(found)["parameters"]
    assert counts == {"scratch": whole, "head": 64 * 5 + 5, "all": whole}
    features = [name for name in given.state_dict() if name.startswith("features")]
    same = {
        scope: [torch.equal(state[name], given.state_dict()[name]) for name in features]
        for scope, state in ended.items()
    }
    assert all(same["head"])  # batch norm's statistics among them
    assert not any(kept for kept, name in zip(same["all"], features, strict=True) if name.endswith("0.weight"))
    distance = {
        scope: sum(
            float((state[name] - weight).norm()) for name, weight in given.state_dict().items() if weight.ndim == 4
        )
        for scope, state in ended.items()
    }
    assert distance["all"] < distance["scratch"] / 2


def test_transfer_between_halves_of_an_odd_number_of_classes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five classes the network knows two and learns the other three."""
    loaded = training.load_dataset

    def five(*given: Any, **more: Any) -> ImageDataset:
        whole = loaded(*given, **more)
        parts = {
            name: Split(images=part.images[part.labels < 5], labels=part.labels[part.labels < 5])
            for name, part in (("train", whole.train), ("test", whole.test))
        }
        return replace(whole, classes=whole.classes[:5], **parts)

    monkeypatch.setattr(training, "load_dataset", five)
    before = training.run(case("pretraining", **RESNET, half=1), workspace)
    assert before.artefact is not None
    trained = replace(workspace, artefact=workspace.artefacts / before.artefact)
    one = case("transfer", **RESNET, source="five_classes", scope="head", half=2)
    assert values(comparisons.run_transfer(one, trained))["trainable_parameters"] == 64 * 3 + 3


def test_transfer_without_weights_is_no_transfer(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(workspace.results))
    for scope in SCOPES:  # from scratch there would be nothing to compare with, after hours
        with pytest.raises(Unsupported, match=r"the ImageNet weights of vgg16 are missing: put vgg16-\w+\.pth into "):
            comparisons.run_transfer(
                case("transfer", "vgg16", "note2_transfer", source="imagenet", scope=scope), workspace
            )
    torn = workspace.results / "vgg16-torn.pth"
    torn.write_bytes(b"torn")
    given = case("transfer", "vgg16", "note2_transfer", source="imagenet", scope="all", imagenet_weights=str(torn))
    with pytest.raises(InputError, match=r"vgg16-torn\.pth is truncated"):
        comparisons.run_transfer(given, workspace)
    with pytest.raises(Unsupported, match="its training failed"):
        comparisons.run_transfer(
            case("transfer", **RESNET, source="five_classes", scope="head", half=2),
            replace(workspace, untrained="its training failed (error: no)"),
        )
    with pytest.raises(InputError, match="'some' is unknown; use scratch, head, all"):
        comparisons.run_transfer(case("transfer", **RESNET, source="five_classes", scope="some"), workspace)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "side", "classes"), [("resnet18", 32, 7), ("vgg16", 32, 7), ("resnet18_cifar", 32, 7)]
)
def test_a_frozen_network_learns_in_its_new_head_alone(model: str, side: int, classes: int) -> None:
    network = classifier(model).build(1000)
    head = replace_head(network, model, classes)
    freeze_all_but(network, head)
    network.train()
    training_modules = {name.partition(".")[0] for name, module in network.named_modules() if name and module.training}
    learning = {name.partition(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert training_modules == learning == {head}
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize("question", list(ABLATIONS))
def test_every_variant_trains(workspace: Workspace, question: str) -> None:
    for variant, changed in ABLATIONS[question].items():
        one = case("ablation", changed.model, "note4_torchvision", question=question, variant=variant, train_images=32)
        found = comparisons.run_ablation(one, workspace)
        assert found.quality is not None
        assert found.series["train_accuracy"]


def test_a_variant_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"'much' .* questions are dropout, initialisation, "):
        comparisons.run_ablation(case("ablation", question="dropout", variant="much"), workspace)


def test_a_speedrun_counts_the_epochs_up_to_the_target(workspace: Workspace) -> None:
    options = {"train_images": 1_500, "epoch_images": 500}
    reached = comparisons.run_speedrun(case("speedrun", target=0.15, **options), workspace)
    epoch = next(place for place, value in enumerate(reached.series["test_accuracy"]) if value >= 0.15)
    assert values(reached)["epochs_to_target"] == epoch + 1
    assert values(reached)["seconds_to_target"] == pytest.approx(sum(reached.seconds[: epoch + 1]))
    assert reached.quality is not None
    assert reached.quality.value == reached.series["test_accuracy"][-1]
    missed = comparisons.run_speedrun(case("speedrun", target=0.999, **options), workspace)
    assert "seconds_to_target" not in missed.figures
    assert "below 0.999" in missed.absent["figures.seconds_to_target"]
