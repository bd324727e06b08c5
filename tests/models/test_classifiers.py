"""The table of networks, and what it says of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import CLASSIFIERS, ClassifierSpec, ModelError, classifier

CHECKOUT = Path(__file__).parents[2]
NOTES = ["cnn_small", "cnn_vgg", "resnet_custom", "resnet14_cifar", "resnet18_cifar"]
TORCHVISION = [
    "resnet18",
    "alexnet",
    "vgg16",
    "squeezenet1_0",
    "densenet161",
    "inception_v3",
    "googlenet",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "mnasnet1_0",
]


def passes(spec: ClassifierSpec, image_size: int) -> bool:
    with torch.device("meta"), torch.no_grad():
        network = spec.untrained(10).eval()
        try:
            return tuple(network(torch.empty(2, 3, image_size, image_size)).shape) == (2, spec.outputs(10))
        except RuntimeError:
            return False


def test_the_table_names_every_network_of_the_notes() -> None:
    assert list(CLASSIFIERS) == [*NOTES, *TORCHVISION, "efficientnet_lite0"]
    assert all(spec.name == name for name, spec in CLASSIFIERS.items())
    assert [name for name, spec in CLASSIFIERS.items() if spec.group == "notes"] == NOTES
    assert [name for name, spec in CLASSIFIERS.items() if spec.group == "torchvision"] == TORCHVISION


def test_images_are_32_pixels_a_side_but_for_three() -> None:
    others = {name: spec.image_size for name, spec in CLASSIFIERS.items() if spec.image_size != 32}
    assert others == {"alexnet": 64, "inception_v3": 75, "efficientnet_lite0": 224}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_image_sizes_pass_exactly_between_the_limits(name: str) -> None:
    spec = CLASSIFIERS[name]
    assert passes(spec, spec.image_size)
    assert passes(spec, spec.minimum_size)
    assert not passes(spec, spec.minimum_size - 1)
    largest = spec.maximum_size or 224
    assert passes(spec, largest)
    assert spec.maximum_size is None or not passes(spec, largest + 1)


def test_a_size_that_does_not_pass_is_refused_with_the_limits() -> None:
    with pytest.raises(ModelError, match="cnn_small takes images of 32 to 47 a side, not 31"):
        classifier("cnn_small", 31)
    with pytest.raises(ModelError, match="cnn_small takes images of 32 to 47 a side, not 224"):
        classifier("cnn_small", 224)
    with pytest.raises(ModelError, match="alexnet takes images of 63 pixels or more a side, not 32"):
        classifier("alexnet", 32)


def test_another_size_is_taken_without_changing_the_table() -> None:
    assert classifier("resnet18", 224).image_size == 224
    assert classifier("resnet18") is CLASSIFIERS["resnet18"]
    assert CLASSIFIERS["resnet18"].image_size == 32


def test_outputs_are_the_head_or_the_classes() -> None:
    assert CLASSIFIERS["resnet18"].outputs(10) == 1000
    assert CLASSIFIERS["cnn_small"].outputs(7) == 7
    with pytest.raises(ModelError, match="fixed head of 1000 outputs, too few for 1001"):
        CLASSIFIERS["resnet18"].outputs(1001)
    with pytest.raises(ModelError, match="cannot tell 0 classes apart"):
        CLASSIFIERS["cnn_small"].build(0)


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="resnt18"):
        classifier("resnt18")


def test_a_network_of_the_table_is_no_file_of_the_users() -> None:
    assert all(spec.source is None for spec in CLASSIFIERS.values())


def test_published_parameters_are_those_of_the_network() -> None:
    for spec in CLASSIFIERS.values():
        if spec.published_parameters is not None:
            assert sum(p.numel() for p in spec.build(10).parameters()) == spec.published_parameters
    assert CLASSIFIERS["cnn_small"].published_parameters == 43_626


def test_importing_the_table_imports_no_torch() -> None:
    program = "import sys, models; models.classifier('models.cnn:cnn_small'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=True, timeout=30)
