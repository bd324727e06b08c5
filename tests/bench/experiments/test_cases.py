"""Networks as people write them, through a case of inference: each row is right, unsupported, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.core.errors import InputError, Unsupported
from bench.core.precisions import PRECISIONS
from bench.core.records import Case, Measurement
from bench.core.workspace import Workspace
from bench.data.images import load_dataset
from bench.experiments import inference
from bench.experiments import subject as subject_module
from bench.experiments.modes import TorchRoute
from bench.experiments.preparation import prepare
from bench.experiments.reference import disagreement
from bench.experiments.subject import Subject, load_subject
from bench.measure import memory
from bench.precision.converted import tensors_as_stored, weights_in
from tests.bench import networks

FILE = Path(networks.__file__)
IMAGES = 200
LINEAR_ONLY = ("int8_dynamic", "int8_linear", "int8_bnb", "nf4", "nf4_double", "fp4")
EVERY = ("bf16", "int8_weights", "nf4_weights", *LINEAR_ONLY)
Run = Callable[..., Measurement]


def case_of(name: str, precision: str = "fp32", **options: Any) -> Case:
    return Case(
        experiment="inference",
        model=f"{FILE}:{name}",
        dataset="mnist5k",
        image_size=32,
        device="cpu",
        threads=1,
        budget="smoke",
        precision=precision,
        batch_size=32,
        options=tuple(sorted({"test_images": IMAGES, **options}.items())),
    )


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    dataset = load_dataset("mnist5k", data_dir=workspace.data_dir, progress=lambda line: None)
    assert len(dataset.classes) == 10
    decoded = next((workspace.data_dir / "cache").glob("mnist5k-*"))
    return replace(workspace, decoded=decoded)


def network_of(subject: Subject) -> nn.Module:
    assert isinstance(subject.route, TorchRoute)
    return subject.route.network


@pytest.fixture
def run(ready: Workspace) -> Run:
    return lambda name, precision="fp32", **options: inference.run(case_of(name, precision, **options), ready)


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str], Path]:
    """A file of weights of a network other than those it is built with."""

    def save(name: str) -> Path:
        torch.manual_seed(99)
        file = tmp_path / f"{name}.pt"
        torch.save(getattr(networks, name)(10).state_dict(), file)
        return file

    return save


@pytest.mark.parametrize("precision", ["bf16", "int8_weights", "int8_bnb", "nf4", "int8_linear"])
@pytest.mark.parametrize(
    "name", ["old_weight_norm", "new_weight_norm", "old_spectral_norm", "new_spectral_norm", "pruned"]
)
def test_derived_weights_are_converted_as_they_are_computed_with(
    name: str, precision: str, ready: Workspace, weights: Callable[[str], Path]
) -> None:
    """The reference is the network itself in torch, loaded as a user loads it."""
    file = weights(name)
    torch.manual_seed(0)
    own = getattr(networks, name)(10)
    own.load_state_dict(torch.load(file, weights_only=True))
    images = torch.rand(64, 3, 32, 32)
    with torch.no_grad():
        expected = own.eval()(images)
        subject = load_subject(case_of(name, precision, weights=str(file)), ready)
        found = network_of(subject)(images.to(subject.route.input_dtype)).float()
    error = float((found - expected).norm() / expected.norm())
    assert error < (0.2 if precision == "nf4" else 0.03)
    assert any("folded in" in note for note in subject.notes)


@pytest.mark.parametrize("number", [0, 1])
def test_later_sets_look_at_the_network_when_asked_alone(
    number: int, ready: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    look = subject_module.look_at

    def counting(*given: Any) -> Any:
        looks.append(given)
        return look(*given)

    monkeypatch.setattr(subject_module, "look_at", counting)
    subject = load_subject(case_of("SharedModule"), replace(ready, set_number=number))
    assert len(looks) == 1 - number
    assert subject.parameters == subject.look().parameters > 0
    assert len(looks) == 1


@pytest.mark.parametrize("name", ["SharedParameter", "SharedModule"])
@pytest.mark.parametrize("precision", EVERY)
def test_a_shared_parameter_is_counted_converted_and_stored_once(name: str, precision: str, ready: Workspace) -> None:
    subject = load_subject(case_of(name, precision), ready)
    with torch.no_grad():
        network_of(subject)(torch.zeros(2, 3, 32, 32, dtype=subject.route.input_dtype))
    parameters, linear, convolution = 128 * 128 + 8 * 27 + 8 + 1290, 128 * 128 + 1280, 8 * 27
    assert subject.parameters == parameters
    converted = {"bf16": parameters, "int8_weights": linear + convolution, "nf4_weights": linear + convolution}
    bits = PRECISIONS[precision].low_bits
    assert weights_in(network_of(subject), bits) == converted.get(precision, linear)
    assert memory.bytes_of(tensors_as_stored(network_of(subject))) < parameters * 4


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("Recurrent", 2 * 32 * (96 + 64) * 4 * 64 + 2 * 64 * 10),
        ("SharedParameter", 2 * (15 * 15 * 8 * 27 + 2 * 128 * 128 + 1280)),
        # Patches, then in each of two layers four projections, two products of attention and two of the rest; head.
        ("EncoderLayers", 2 * (16 * 192 * 64 + 2 * (16 * 64 * 64 * 4 + 2 * 16 * 16 * 64 + 2 * 16 * 64 * 128) + 640)),
        ("hf_vit", 2 * (16 * 192 * 64 + 2 * (17 * 64 * 64 * 4 + 2 * 17 * 17 * 64 + 2 * 17 * 64 * 128) + 640)),
    ],
)
def test_flops_are_those_worked_out_by_hand(name: str, flops: int, ready: Workspace) -> None:
    found = load_subject(case_of(name), ready)
    assert (found.flops_per_image, found.flops_doubtful) == (flops, None)


def test_doubtful_flops_are_absent() -> None:
    """A product that no trace names as one, and no account counts: two that disagree are both left out."""
    assert disagreement(networks.Recurrent(10).eval(), (3, 32, 32), 1280) is not None


def test_a_network_that_rounds_by_itself_is_said_to(run: Run) -> None:
    found = run("AutocastInside")
    assert found.flags["compute"] == "bfloat16"
    assert any("ran in bfloat16" in note for note in found.notes)


def test_a_network_that_compiles_itself_is_said_to(ready: Workspace) -> None:
    assert any("compiles itself" in note for note in load_subject(case_of("CompiledInside"), ready).notes)
    assert not any("compiles itself" in note for note in load_subject(case_of("plain"), ready).notes)


def test_a_network_that_differs_between_two_calls_is_said_to(run: Run, weights: Callable[[str], Path]) -> None:
    found = run("DropsInEvaluation", "int8_linear", weights=str(weights("DropsInEvaluation")))
    assert "two calls on one batch differ" in found.absent["predictions"]
    assert found.quality is not None
    assert found.quality.predictions is None


@pytest.mark.parametrize("name", ["TrainReturnsNone", "Wrapper", "hf_vit", "one_channel", "lazy"])
def test_usable_networks_give_what_they_give_in_torch(
    name: str, ready: Workspace, weights: Callable[[str], Path]
) -> None:
    torch.manual_seed(99)
    own = getattr(networks, name)(10)
    images = torch.rand(8, 1, 32, 32).expand(8, 3, 32, 32)
    given = images[:, :1] if name == "one_channel" else images
    with torch.no_grad():
        own.eval()
        expected = own(given)
        torch.save(own.state_dict(), ready.results / "own.pt")
        case = case_of(name, weights=str(ready.results / "own.pt"))
        prepare(case, ready, users=[case])
        subject = load_subject(case, ready)
        found = network_of(subject)(images)
    assert torch.allclose(found, getattr(expected, "logits", expected), atol=1e-6)
    assert network_of(subject).train() is network_of(subject)
    if name == "hf_vit":
        assert any("'logits' of the ImageClassifierOutput" in note for note in subject.notes)
    if name == "one_channel":
        assert any("takes one channel" in note for note in subject.notes)


def test_a_hook_stays_where_it_was(ready: Workspace) -> None:
    """A layer with a hook is left as it is; the others are converted."""
    case = case_of("hooked", "int8_bnb")
    subject = load_subject(case, ready)
    torch.manual_seed(0)
    expected, images = networks.hooked(10).eval(), torch.rand(16, 3, 32, 32)
    with torch.no_grad():
        error = (network_of(subject)(images) - expected(images)).norm() / expected(images).norm()
    assert float(error) < 0.03


@pytest.mark.parametrize("precision", ["int8_bnb", "nf4"])
def test_layers_that_fused_operators_read_cannot_be_replaced(precision: str, ready: Workspace) -> None:
    with pytest.raises(Unsupported, match=r"is read by .*, outside of the layer's own forward"):
        load_subject(case_of("EncoderLayers", precision), ready)


@pytest.mark.parametrize("precision", ["bf16", "int8_weights", "int8_linear", "nf4_weights"])
def test_layers_that_fused_operators_read_keep_their_matrix_elsewhere(precision: str, ready: Workspace) -> None:
    subject = load_subject(case_of("EncoderLayers", precision), ready)
    torch.manual_seed(0)
    expected, images = networks.EncoderLayers(10).eval(), torch.rand(16, 3, 32, 32)
    with torch.no_grad():
        found = network_of(subject)(images.to(subject.route.input_dtype)).float()
        error = (found - expected(images)).norm() / expected(images).norm()
    assert float(error) < 0.2


def test_more_outputs_than_classes_are_refused_without_a_map(ready: Workspace, tmp_path: Path) -> None:
    """Class d of the data stands for output 207 + d: its accuracy is that of those columns."""
    torch.manual_seed(5)
    network = networks.imagenet_head()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    given = case_of("imagenet_head", weights=str(tmp_path / "w.pt"))
    with pytest.raises(InputError, match=r"has 1,000 outputs and data set mnist5k 10 classes: .*--class-map FILE"):
        prepare(given, ready, users=[given])
    (tmp_path / "map.json").write_text(json.dumps({str(digit): 207 + digit for digit in range(10)}))
    mapped = case_of("imagenet_head", weights=str(tmp_path / "w.pt"), class_map=str(tmp_path / "map.json"))
    prepare(mapped, ready, users=[mapped])
    subject = load_subject(mapped, ready)
    found = inference.run(mapped, ready)
    pixels = torch.from_numpy(subject.dataset.test.images[:IMAGES].copy()).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(half).view(1, 3, 1, 1) for half in (subject.dataset.mean, subject.dataset.std))
    with torch.no_grad():
        columns = network.eval()((pixels - mean) / std)[:, 207:217].argmax(1)
    right = (columns.numpy() == subject.dataset.test.labels[:IMAGES]).mean()
    assert found.quality is not None
    assert found.quality.value == pytest.approx(right, abs=0.011)


def test_accuracy_of_guessing_and_the_normalisation_are_said(run: Run, weights: Callable[[str], Path]) -> None:
    found = run("plain", weights=str(weights("plain")))
    assert any("accuracy is that of guessing" in note for note in found.notes)
    assert any("--normalize" in note for note in found.notes)
    own = run("plain", weights=str(weights("plain")), normalize="0.5,0.5,0.5/0.5,0.5,0.5")
    assert own.flags["normalize"] == "0.5,0.5,0.5/0.5,0.5,0.5"
    assert not any("own statistics" in note for note in own.notes)


@pytest.mark.slow
def test_a_pretrained_network_is_compared_on_photographs(ready: Workspace) -> None:
    case = replace(case_of("plain", "int8_weights"), model="efficientnet_lite0", image_size=224, batch_size=4)
    found = inference.run(case, ready)
    assert found.quality is None
    assert "not judged for accuracy" in found.absent["quality"]
    assert found.divergence is not None
    assert found.divergence.samples == 32
    assert found.divergence.same_top > 0.8
    assert 0 < found.divergence.kl_mean < 0.1
