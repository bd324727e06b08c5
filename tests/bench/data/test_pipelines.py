from __future__ import annotations

import io
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import transforms

from bench.data.augmentation import HALF, USUAL, Augmentation, Normalization
from bench.data.images import ImageDataset, Split
from bench.data.pipelines import ImageTensors, augmented_grid_png, evaluation_batches, loader_for_epoch


@pytest.fixture(scope="module")
def noise() -> Split:
    random = np.random.default_rng(5)
    return Split(images=random.integers(0, 256, (23, 32, 32, 3), np.uint8), labels=np.arange(23) % 4)


def epoch(split: Split, augmentation: Augmentation, **given: Any) -> tuple[Tensor, Tensor]:
    options: dict[str, Any] = {"image_size": 32, "batch_size": 8, "workers": 0, "shuffle": True, "seed": 0, "epoch": 0}
    indices = given.pop("indices", np.arange(len(split.labels)))
    images, labels = zip(*loader_for_epoch(split, indices, augmentation=augmentation, **options | given), strict=True)
    return torch.cat(images), torch.cat(labels)


def evaluated(split: Split, normalize: Normalization | None, **given: Any) -> tuple[Tensor, Tensor]:
    options: dict[str, Any] = {"image_size": 32, "batch_size": 10, "device": "cpu"}
    images, labels = zip(*evaluation_batches(split, normalize=normalize, **options | given), strict=True)
    return torch.cat(images), torch.cat(labels)


def by_torchvision(split: Split, *steps: Any) -> Tensor:
    composed = transforms.Compose([*steps])
    return torch.stack([composed(Image.fromarray(image)) for image in split.images])


CROP = Augmentation(crop_padding=4, flip=True, normalize=USUAL)


class TestLoader:
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_seed_and_epoch_alone_decide(self, noise: Split) -> None:
        images, labels = epoch(noise, CROP, seed=3, epoch=2)
        torch.rand(7)  # the global generator has no say
        again, labels_again = epoch(noise, CROP, seed=3, epoch=2, workers=1)
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)
        for given in ({"seed": 4, "epoch": 2}, {"seed": 3, "epoch": 3}, {"seed": 2, "epoch": 3}):
            assert not torch.equal(images, epoch(noise, CROP, **given)[0])

    def test_the_global_generator_is_not_moved(self, noise: Split) -> None:
        before = torch.get_rng_state()
        epoch(noise, CROP)
        assert torch.equal(torch.get_rng_state(), before)

    def test_without_augmentation_it_is_to_tensor_and_normalize_bit_for_bit(self, noise: Split) -> None:
        for normalize in (USUAL, HALF):
            images, labels = epoch(noise, Augmentation(normalize=normalize), shuffle=False)
            expected = by_torchvision(noise, transforms.ToTensor(), transforms.Normalize(*normalize))
            assert torch.equal(images, expected)
            assert labels.tolist() == noise.labels.tolist()
            assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)

    def test_shuffling_keeps_images_with_their_labels(self, noise: Split) -> None:
        indices = np.array([20, 3, 7, 11, 2])
        images, labels = epoch(noise, Augmentation(), indices=indices)
        plain = by_torchvision(noise, transforms.ToTensor())
        found = [int((plain == image).flatten(1).all(1).nonzero()[0, 0]) for image in images]
        assert sorted(found) == sorted(indices)
        assert found != indices.tolist()
        assert labels.tolist() == noise.labels[found].tolist()

    def test_crops_are_those_of_the_padded_image_and_reach_its_corners(self) -> None:
        image = np.random.default_rng(1).integers(1, 256, (32, 32, 3), np.uint8)
        split = Split(images=np.repeat(image[None], 400, axis=0), labels=np.zeros(400, np.int64))
        crops, _ = epoch(split, Augmentation(crop_padding=1), shuffle=False)
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        possible = {padded[top : top + 32, left : left + 32].tobytes() for top in range(3) for left in range(3)}
        found = {crop.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes() for crop in crops}
        assert found == possible

    def test_half_of_the_images_are_mirrored(self) -> None:
        image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
        split = Split(images=np.repeat(image[None], 400, axis=0), labels=np.zeros(400, np.int64))
        images, _ = epoch(split, Augmentation(flip=True), shuffle=False)
        plain = by_torchvision(Split(images=image[None], labels=split.labels[:1]), transforms.ToTensor())[0]
        mirrored = sum(torch.equal(found, plain.flip(2)) for found in images)
        assert 150 < mirrored < 250
        assert mirrored + sum(torch.equal(found, plain) for found in images) == 400

    def test_resizing_comes_before_cropping(self, noise: Split) -> None:
        images, _ = epoch(noise, Augmentation(crop_padding=4), image_size=48)
        assert images.shape == (23, 3, 48, 48)
        plain, _ = epoch(noise, Augmentation(), image_size=48, shuffle=False)
        assert torch.equal(plain, by_torchvision(noise, transforms.Resize(48), transforms.ToTensor()))

    def test_workers_that_are_spawned_map_the_file_again(self, digits: ImageDataset) -> None:
        loader = loader_for_epoch(
            digits.train,
            np.arange(9),
            augmentation=Augmentation(),
            image_size=32,
            batch_size=3,
            workers=0,
            shuffle=False,
            seed=0,
        )
        pickled = pickle.dumps(loader.dataset)
        assert len(pickled) < 10_000
        copy = pickle.loads(pickled)
        for position in range(9):
            assert (copy[position][0] == loader.dataset[position][0]).all()

    def test_normalised_training_images_have_mean_0_and_deviation_1(self, digits: ImageDataset) -> None:
        images, _ = epoch(digits.train, Augmentation(normalize=(digits.mean, digits.std)), batch_size=500)
        assert images.mean((0, 2, 3)).abs().max() < 1e-4
        assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-4


class TestEvaluation:
    @pytest.mark.parametrize("normalize", [None, USUAL, HALF])
    def test_it_equals_to_tensor_and_normalize_bit_for_bit(self, noise: Split, normalize: Normalization | None) -> None:
        steps = [transforms.ToTensor(), *([transforms.Normalize(*normalize)] if normalize else [])]
        images, labels = evaluated(noise, normalize)
        assert torch.equal(images, by_torchvision(noise, *steps))
        assert labels.tolist() == noise.labels.tolist()
        assert (images.dtype, labels.dtype, images.is_contiguous()) == (torch.float32, torch.int64, True)

    @pytest.mark.parametrize(("image_size", "differing"), [(16, 0), (64, 0), (224, 0), (75, 0.05)])
    def test_resizing_is_pillows(self, noise: Split, image_size: int, differing: float) -> None:
        images, _ = evaluated(noise, None, image_size=image_size)
        expected = by_torchvision(noise, transforms.Resize(image_size), transforms.ToTensor())
        difference = (images - expected).abs()
        assert difference.max() < 2.01 / 255
        assert (difference > 0).float().mean() <= differing

    def test_chosen_images_come_in_the_order_given(self, noise: Split) -> None:
        images, labels = evaluated(noise, None, indices=np.array([5, 1, 9]))
        whole, _ = evaluated(noise, None)
        assert torch.equal(images, whole[[5, 1, 9]])
        assert labels.tolist() == noise.labels[[5, 1, 9]].tolist()

    def test_stored_images_stay_as_they_are_and_batches_come_one_by_one(
        self, digits: ImageDataset, tmp_path: Path
    ) -> None:
        batches = evaluation_batches(digits.test, normalize=HALF, image_size=32, batch_size=64, device="cpu")
        for images, _ in islice(batches, 2):
            assert images.shape == (64, 3, 32, 32)
            images.zero_()
        assert digits.test.images[:128].any()


FLIP = Augmentation(flip=True, normalize=HALF)
PLAIN = Augmentation()
ALTERNATING = Augmentation(flip=True, alternate=True)


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


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(("image_size", "side"), [(32, 3 * 96 + 16), (64, 3 * 64 + 16)])
def test_it_is_a_png_of_nine_tiles_and_gaps(digits: ImageDataset, image_size: int, side: int) -> None:
    picture = opened(augmented_grid_png(digits, Augmentation(crop_padding=4), image_size, seed=0))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (side, side))


def test_tiles_are_training_images_not_normalised(digits: ImageDataset) -> None:
    pixels = np.asarray(opened(augmented_grid_png(digits, Augmentation(normalize=USUAL), 32, seed=0)))
    known = {image.tobytes() for image in digits.train.images}
    tiles = [
        np.ascontiguousarray(pixels[4 + row * 100 : 100 + row * 100 : 3, 4 + column * 100 : 100 + column * 100 : 3])
        for row in range(3)
        for column in range(3)
    ]
    assert len({tile.tobytes() for tile in tiles}) == 9
    assert all(tile.tobytes() in known for tile in tiles)
    assert (pixels[:4] == 255).all()
    assert (pixels[100:104] == 255).all()


def test_the_seed_chooses_the_images(digits: ImageDataset) -> None:
    pictures = [augmented_grid_png(digits, Augmentation(crop_padding=4), 32, seed) for seed in (0, 0, 1)]
    assert pictures[0] == pictures[1] != pictures[2]
