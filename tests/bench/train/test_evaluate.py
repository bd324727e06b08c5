from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import InputError
from bench.core.recipes import RECIPES, TestFaults
from bench.data.images import ImageDataset, Split
from bench.train.evaluate import (
    Evaluation,
    check_network,
    evaluate,
    evaluate_as_noted,
    evaluate_split,
    evaluating,
)

CPU = torch.device("cpu")
RECIPE = replace(RECIPES["user"], batch_size=8)


def _noted(network: nn.Module, dataset: ImageDataset, faults: TestFaults, seed: int = 0) -> Evaluation:
    recipe = replace(RECIPE, faults=faults)
    return evaluate_as_noted(network, dataset, recipe, image_size=8, device=CPU, seed=seed, test_images=33)


def _state(network: nn.Module) -> dict[str, Any]:
    modes = {name: module.training for name, module in network.named_modules()}
    return {**{name: value.tolist() for name, value in network.state_dict().items()}, "modes": modes}


def _batches(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(size, 3, 8, 8), torch.randint(3, (size,))) for size in (5, 5, 2)]


def test_evaluate_is_the_plain_mean_over_images(tiny_network: nn.Sequential) -> None:
    batches = _batches(tiny_network)
    before = _state(tiny_network)
    found = evaluate(tiny_network, batches, CPU)
    assert _state(tiny_network) == before
    tiny_network.eval()
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    logits = tiny_network(images).detach()
    picked = logits.log_softmax(1)[torch.arange(12), labels]
    assert found.loss == pytest.approx(float(-picked.mean()), rel=1e-6)
    assert found.predictions.tolist() == logits.argmax(1).tolist()
    assert found.accuracy == int((logits.argmax(1) == labels).sum()) / 12
    assert found.samples == 12
    assert found.standard_error == pytest.approx(math.sqrt(found.accuracy * (1 - found.accuracy) / 12))


def test_nothing_to_judge_by_is_refused(tiny_network: nn.Sequential) -> None:
    with pytest.raises(InputError, match="no image to evaluate on"):
        evaluate(tiny_network, [], CPU)


def test_modes_come_back_module_by_module(tiny_network: nn.Sequential) -> None:
    tiny_network.train()
    tiny_network[1].eval()  # a frozen batch norm
    before = _state(tiny_network)
    with evaluating(tiny_network, TestFaults(dropout=True)):
        assert [module.training for module in tiny_network] == [False, False, False, False, True, False]
    with evaluating(tiny_network, TestFaults(train_mode=True)):
        assert all(module.training for module in tiny_network)
        tiny_network(torch.randn(4, 3, 8, 8))
    assert _state(tiny_network) == before


def test_a_split_is_normalised_as_the_recipe_trains(tiny_network: nn.Sequential, tiny_dataset: ImageDataset) -> None:
    rows = np.array([5, 3, 30])
    seen: list[Tensor] = []
    tiny_network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    found = evaluate_split(
        tiny_network,
        tiny_dataset.test,
        recipe=replace(RECIPE, normalize="half"),
        dataset=tiny_dataset,
        image_size=8,
        device=CPU,
        indices=rows,
    )
    expected = (tiny_dataset.test.images[rows].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(seen[0].numpy(), expected, rtol=1e-6, atol=1e-6)
    assert found.samples == 3


def test_as_noted_without_faults_is_as_corrected(tiny_network: nn.Sequential, tiny_dataset: ImageDataset) -> None:
    right = evaluate_split(
        tiny_network,
        tiny_dataset.test,
        recipe=RECIPE,
        dataset=tiny_dataset,
        image_size=8,
        device=CPU,
        indices=np.arange(33),
    )
    noted = _noted(tiny_network, tiny_dataset, TestFaults())
    assert (noted.accuracy, noted.samples) == (right.accuracy, 33)
    assert noted.loss == pytest.approx(right.loss, rel=1e-6)


@pytest.mark.parametrize("faults", [TestFaults(flip=True), TestFaults(crop_padding=2), TestFaults(dropout=True)])
def test_a_fault_changes_what_is_measured(
    tiny_network: nn.Sequential, tiny_dataset: ImageDataset, faults: TestFaults
) -> None:
    before = _state(tiny_network)
    losses = []
    for seed in (0, 1, 0):
        torch.rand(7)  # whatever the global generator holds
        losses.append(_noted(tiny_network, tiny_dataset, faults, seed).loss)
    right = _noted(tiny_network, tiny_dataset, TestFaults()).loss
    assert losses[0] == losses[2]
    assert len({*losses, right}) == 3
    assert _state(tiny_network) == before


def test_a_network_left_in_training_mode_takes_the_batchs_statistics(tiny_dataset: ImageDataset) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    outputs: list[Tensor] = []
    network.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    found = _noted(network, tiny_dataset, TestFaults(train_mode=True))
    assert found.samples == 32  # 33 leave a batch of one, which has no statistics
    assert [len(output) for output in outputs] == [8] * 4
    assert all(output.mean(0).abs().max() < 1e-5 for output in outputs)
    assert network[0].num_batches_tracked == 0


def test_the_notes_batch_is_used_and_shuffled(tiny_network: nn.Sequential, tiny_dataset: ImageDataset) -> None:
    sizes: list[int] = []
    tiny_network.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    ordered = _noted(tiny_network, tiny_dataset, TestFaults())
    recipe = replace(RECIPE, test_batch_size=20)
    evaluate_as_noted(tiny_network, tiny_dataset, recipe, image_size=8, device=CPU, seed=0, test_images=33)
    assert sizes == [8, 8, 8, 8, 1, 20, 13]
    plain = evaluate_split(
        tiny_network, tiny_dataset.test, recipe=RECIPE, dataset=tiny_dataset, image_size=8, device=CPU,
        indices=np.arange(33),
    )  # fmt: skip
    assert ordered.predictions.tolist() != plain.predictions.tolist()
    assert sorted(ordered.predictions) == sorted(plain.predictions)


def test_dropout_does_not_move_the_global_generator(tiny_network: nn.Sequential, tiny_dataset: ImageDataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _noted(tiny_network, tiny_dataset, TestFaults(dropout=True))
    assert torch.equal(torch.rand(3), expected)


class Raises(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise ValueError("my own\nfault")


class RaisesInTraining(nn.Module):
    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        logits = images.flatten(1)[:, :3]
        return (logits, logits) if self.training else logits


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Raises(), "'mine' raises ValueError on 2 images of 3x8x8: my own fault; correct the network"),
        (
            nn.Flatten(0),
            r"'mine' returns shape \(384,\) for 2 images: logits of shape \(2, K\) are needed, K at least 3",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), r"returns shape \(2, 2\)"),
        (RaisesInTraining(), "returns a tuple"),
    ],
)
def test_a_network_that_does_not_fit_is_named(network: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check_network(network, "mine", classes=3, image_size=8, device=CPU, training=True)
    assert "\n" not in str(caught.value)


def test_a_good_network_passes_untouched(tiny_network: nn.Sequential) -> None:
    before = _state(tiny_network)
    check_network(tiny_network, "mine", classes=3, image_size=8, device=CPU, training=True)
    assert _state(tiny_network) == before
    check_network(RaisesInTraining(), "mine", classes=3, image_size=8, device=CPU, training=False)


def test_stored_images_are_not_changed(tiny_network: nn.Sequential, tiny_dataset: ImageDataset) -> None:
    before: Split = replace(tiny_dataset.test, images=tiny_dataset.test.images.copy())
    _noted(tiny_network, tiny_dataset, TestFaults(flip=True, crop_padding=1))
    np.testing.assert_array_equal(before.images, tiny_dataset.test.images)
