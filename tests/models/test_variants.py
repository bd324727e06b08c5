from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import models
from models.ablations import ABLATIONS
from models.resnet import Residual


def variant(question: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    chosen = ABLATIONS[question][name]
    return chosen.apply(models.classifier(chosen.model).build(10))


def kinds(network: nn.Module, *wanted: type[nn.Module]) -> list[type[nn.Module]]:
    return [type(module) for module in network.modules() if isinstance(module, wanted)]


@pytest.mark.parametrize(
    ("question", "name"), [(question, name) for question in ABLATIONS for name in ABLATIONS[question]]
)
def test_every_variant_gives_logits(question: str, name: str) -> None:
    assert variant(question, name)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_dropout_is_nowhere_before_or_after_the_activation() -> None:
    nowhere, before, after = (variant("dropout", name) for name in ABLATIONS["dropout"])
    assert not kinds(nowhere, nn.Dropout)
    assert kinds(before, nn.Dropout, nn.ReLU) == [nn.Dropout, nn.ReLU] * 2
    assert kinds(after, nn.Dropout, nn.ReLU) == [nn.ReLU, nn.Dropout] * 2
    images = torch.randn(4, 3, 32, 32)
    outputs = [network.eval()(images) for network in (nowhere, before, after)]
    assert torch.equal(outputs[0], outputs[1])  # the same weights, and dropout is off
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize(("name", "gain"), [("xavier", None), ("he", math.sqrt(2))])
def test_initial_weights_have_the_variance_of_their_scheme(name: str, gain: float | None) -> None:
    for module in variant("initialisation", name).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs, outputs = nn.init._calculate_fan_in_and_fan_out(module.weight)  # type: ignore[no-untyped-call]
            expected = gain / math.sqrt(inputs) if gain else math.sqrt(2 / (inputs + outputs))
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.12)
            assert module.bias is not None
            assert not module.bias.any()


def test_what_is_taken_away_is_gone_and_the_rest_is_there() -> None:
    whole = variant("skip connections", "with")
    assert len(kinds(whole, Residual)) == 6
    assert len(kinds(whole, nn.BatchNorm2d)) == 15
    plain, unnormalised = variant("skip connections", "without"), variant("batch norm", "without")
    assert not kinds(plain, Residual)
    assert len(kinds(plain, nn.Conv2d)) == 13  # without the two shortcuts that are convolutions
    assert not kinds(unnormalised, nn.BatchNorm2d)
    assert len(kinds(unnormalised, nn.Conv2d)) == 15
