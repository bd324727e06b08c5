from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.augmentation import HALF, USUAL, Augmentation
from bench.data.images import Split
from bench.data.pipelines import loader_for_epoch
from bench.data.tensors import ImageTensors

CROP = Augmentation(crop_padding=4, flip=True, normalize=USUAL)
FLIP = Augmentation(flip=True, normalize=HALF)
PLAIN = Augmentation()
ALTERNATING = Augmentation(flip=True, alternate=True)


@pytest.fixture(scope="module")
def noise() -> Split:
    random = np.random.default_rng(5)
    return Split(images=random.integers(0, 256, (23, 32, 32, 3), np.uint8), labels=np.arange(23) % 4)


def tensors(split: Split, augmentation: Augmentation, **given: Any) -> list[tuple[Tensor, Tensor]]:
    options: dict[str, Any] = {"image_size": 32, "batch_size": 8, "shuffle": True, "seed": 0, "epoch": 0}
    indices = given.pop("indices", np.arange(len(split.labels)))
    pipeline = ImageTensors(split, torch.device("cpu"))
    return list(pipeline.epoch(indices, augmentation=augmentation, **options | given))


@pytest.mark.parametrize("augmentation", [CROP, FLIP, PLAIN, ALTERNATING], ids=["crop", "flip", "plain", "alternating"])
@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_those_of_the_notes_loader_bit_for_bit(
    noise: Split, augmentation: Augmentation, image_size: int, shuffle: bool
) -> None:
    indices = np.array([3, 20, 7, 11, 0, 22, 5, 9, 14, 2])
    options = {"image_size": image_size, "batch_size": 4, "shuffle": shuffle, "seed": 3, "epoch": 5}
    loader = loader_for_epoch(noise, indices, augmentation=augmentation, workers=0, **options)
    expected, found = list(loader), tensors(noise, augmentation, indices=indices, **options)
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    for (images, labels), (images_there, labels_there) in zip(found, expected, strict=True):
        assert torch.equal(images, images_there)
        assert torch.equal(labels, labels_there)


def test_channels_last_changes_the_layout_alone(noise: Split) -> None:
    plain, laid_out = (
        tensors(noise, CROP, memory_format=layout)[0][0] for layout in (torch.contiguous_format, torch.channels_last)
    )
    assert torch.equal(plain, laid_out)
    assert plain.is_contiguous()
    assert laid_out.is_contiguous(memory_format=torch.channels_last)
    assert not laid_out.is_contiguous()


def test_alternating_flips_show_each_image_both_ways_in_two_epochs(noise: Split) -> None:
    first, second, third = (
        torch.cat([images for images, _ in tensors(noise, ALTERNATING, shuffle=False, epoch=epoch)])
        for epoch in (4, 5, 6)
    )
    assert torch.equal(first, third)
    assert torch.equal(first, second.flip(3))
    as_stored = torch.cat([images for images, _ in tensors(noise, PLAIN, shuffle=False)])
    unflipped = [torch.equal(one, other) for one, other in zip(first, as_stored, strict=True)]
    assert 0 < sum(unflipped) < len(unflipped)  # which ones begin mirrored is drawn


class _Made(TorchDispatchMode):
    """Counts the tensors that are made of Python's numbers: on a GPU each is a copy that waits for the device."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))


def test_nothing_is_sent_to_the_device_within_an_epoch(noise: Split) -> None:
    options: dict[str, Any] = {"image_size": 32, "batch_size": 8, "shuffle": True, "seed": 0}
    pipeline = ImageTensors(noise, torch.device("cpu"))
    batches = iter(pipeline.epoch(np.arange(23), augmentation=CROP, **options))
    with _Made() as before:
        next(batches)
    with _Made() as later:
        assert len(list(batches)) == 2
    assert before.count  # means and standard deviations
    assert later.count == 0
