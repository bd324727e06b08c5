"""What networks return, and networks that are not whole when they are built."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import ModelError
from models.outputs import adapt, logits_in, whole

SHAPE = (3, 8, 8)
LOGITS = torch.tensor([[1.0, 2.0]])
OTHER = torch.tensor([[7.0]])


@dataclass
class Output:
    loss: Tensor | None
    scores: Tensor


class Returns(nn.Module):
    """A linear layer whose result is put into something else."""

    def __init__(self, put: Any) -> None:
        super().__init__()
        self.layer, self.put = nn.Linear(192, 4), put

    def forward(self, images: Tensor) -> Any:
        return self.put(self.layer(images.flatten(1)))


@pytest.mark.parametrize(
    ("output", "taken"),
    [
        (LOGITS, None),
        ({"features": OTHER, "logits": LOGITS}, "'logits' of the dict"),
        (OrderedDict(aux=OTHER, out=LOGITS), "'out' of the OrderedDict"),
        ((LOGITS, OTHER), "the first tensor (0) of the tuple"),
        ([None, LOGITS], "the first tensor (1) of the list"),
        (Output(None, LOGITS), "the first tensor (scores) of the Output"),
    ],
)
def test_logits_are_found_in_what_networks_return(output: Any, taken: str | None) -> None:
    assert logits_in(output)[0] is LOGITS
    assert logits_in(output)[1] == taken


def test_an_output_without_a_tensor_stays_as_it_is() -> None:
    assert logits_in("logits") == ("logits", None)


def test_an_adapted_network_keeps_its_names_modes_and_numbers() -> None:
    network = Returns(lambda logits: {"logits": logits, "aux": logits * 2})
    names, images = list(network.state_dict()), torch.randn(2, *SHAPE)
    expected = network(images)["logits"]
    network.layer.eval()
    assert adapt(network, SHAPE) == ("the logits are 'logits' of the dict that the network returns",)
    assert torch.equal(network(images), expected)
    assert list(network.state_dict()) == names
    assert (network.training, network.layer.training) == (True, False)
    assert isinstance(network, Returns)
    assert torch.equal(torch.compile(network, backend="eager")(images), expected)


def test_a_network_that_returns_a_tensor_is_left_alone() -> None:
    network = Returns(lambda logits: logits)
    assert adapt(network, SHAPE) == ()
    assert type(network) is Returns


def test_a_network_that_raises_is_left_for_who_tries_it() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(7, 2))
    assert adapt(network, SHAPE) == ()
    assert type(network) is nn.Sequential


def test_a_network_for_one_channel_gets_the_first_of_grey_images() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)).eval()
    images = torch.randn(2, 1, 8, 8).expand(2, 3, 8, 8)
    expected = network(images[:, :1])
    assert adapt(network, SHAPE) == ()
    assert adapt(network, SHAPE, grey=True) == ("the network takes one channel: grey images are given as such",)
    assert torch.equal(network(images), expected)


def test_transformers_own_classifier_gives_its_logits() -> None:
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    network = ViTForImageClassification(ViTConfig(**shape, image_size=8, patch_size=4, num_labels=5)).eval()
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        expected = network(images).logits
        (said,) = adapt(network, SHAPE)
        assert "'logits' of the ImageClassifierOutput" in said
        assert torch.equal(network(images), expected)


def test_lazy_layers_get_their_shapes_and_the_mode_stays() -> None:
    torch.manual_seed(0)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5), nn.Dropout())
    assert whole(lazy, SHAPE, "lazy") is lazy
    assert [tuple(parameter.shape) for parameter in lazy.parameters()] == [(4, 3, 3, 3), (4,), (5, 144), (5,)]
    assert lazy.training


def test_lazy_layers_that_no_image_passes_are_refused() -> None:
    lazy = nn.Sequential(nn.Linear(5, 5), nn.LazyLinear(5))
    with pytest.raises(ModelError, match="an image of 3x8x8 does not pass its lazy layers: RuntimeError"):
        whole(lazy, SHAPE, "lazy")


def test_a_train_that_returns_nothing_returns_the_network() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def train(self, mode: bool = True) -> None:  # type: ignore[override]
            super().train(mode)
            self.norm.eval()

    network = whole(Frozen(), SHAPE, "frozen")
    assert network.train() is network
    assert network.eval() is network
    network.train()
    assert (network.training, network.norm.training) == (True, False)  # type: ignore[union-attr]
