"""torchvision's twelve: untrained, 1000 outputs, no auxiliary heads."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import get_model_weights

from models import CLASSIFIERS

TORCHVISION = [name for name, spec in CLASSIFIERS.items() if spec.group == "torchvision"]


def auxiliary_of_googlenet(channels: int) -> int:
    return channels * 128 + 2 * 128 + (2048 * 1024 + 1024) + (1024 * 1000 + 1000)


def auxiliary_of_inception() -> int:
    return (768 * 128 + 2 * 128) + (128 * 768 * 25 + 2 * 768) + (768 * 1000 + 1000)


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameters_are_as_many_as_torchvision_publishes(name: str) -> None:
    published = get_model_weights(name).DEFAULT.meta["num_params"]
    if name == "inception_v3":  # Published with its auxiliary head, googlenet without.
        published -= auxiliary_of_inception()
    with torch.device("meta"):
        network = CLASSIFIERS[name].build(10)
    assert sum(parameter.numel() for parameter in network.parameters()) == published


def test_what_the_auxiliary_heads_would_add_is_left_out() -> None:
    both = auxiliary_of_googlenet(512) + auxiliary_of_googlenet(528)
    with torch.device("meta"):
        googlenet, inception = CLASSIFIERS["googlenet"].build(), CLASSIFIERS["inception_v3"].build()
    assert sum(p.numel() for p in googlenet.parameters()) == 13_004_888 - both == 6_624_904
    assert sum(p.numel() for p in inception.parameters()) == 27_161_264 - auxiliary_of_inception() == 23_834_568


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_batch_of_one_of_its_own_size_gives_1000_finite_logits(name: str) -> None:
    spec = CLASSIFIERS[name]
    with torch.device("meta"):
        network = spec.build(10).eval()
    # Drawing 138 M weights takes seconds and changes no shape.
    network.to_empty(device="cpu")
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data.fill_(0.001)
    with torch.inference_mode():
        logits = network(torch.randn(1, 3, spec.image_size, spec.image_size))
    assert logits.shape == (1, 1000)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("name", "deviation"), [("googlenet", 0.01), ("inception_v3", 0.1)])
def test_weights_are_drawn_as_torchvision_does_by_default(name: str, deviation: float) -> None:
    weight = CLASSIFIERS[name].build().get_parameter("fc.weight")
    assert weight.std().item() == pytest.approx(deviation, rel=0.02)
