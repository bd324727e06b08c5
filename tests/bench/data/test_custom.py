from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.core.errors import InputError
from bench.data.images import ImageDataset, load_dataset

HEAD = """
from __future__ import annotations
import numpy as np, torch
from PIL import Image
from torch.utils.data import Dataset

class Listed(Dataset):
    def __init__(self, items, classes=None):
        self.items = items
        if classes: self.classes = classes
    def __len__(self): return len(self.items)
    def __getitem__(self, index): return self.items[index]

GREY = [np.full((32, 32, 3), 10 * number, np.uint8) for number in range(6)]
"""


def load(folder: Path, body: str, image_size: int = 32) -> ImageDataset:
    file = folder / "mine.py"
    file.write_text(HEAD + body)
    return load_dataset(f"{file}:pets", data_dir=folder, image_size=image_size, progress=lambda line: None)


@pytest.mark.parametrize(
    "item",
    [
        "Image.fromarray(pixels)",
        "pixels",
        "pixels[..., 0]",
        "pixels.transpose(2, 0, 1)",
        "torch.from_numpy(pixels)",
        "torch.from_numpy(pixels).permute(2, 0, 1)",
        "torch.from_numpy(pixels).permute(2, 0, 1) / 255",
        "torch.from_numpy(pixels[None, ..., 0]) / 255",
    ],
)
def test_every_kind_of_image_is_stored_as_the_same_pixels(tmp_path: Path, item: str) -> None:
    body = f"def pets():\n    data = Listed([({item}, i % 2) for i, pixels in enumerate(GREY)])\n    return data, data"
    dataset = load(tmp_path, body)
    assert dataset.name == "pets"
    assert dataset.train.images.shape == (6, 32, 32, 3)
    assert dataset.train.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert dataset.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.classes == ("0", "1")
    assert (dataset.held_out, dataset.flip) == (1, True)


@pytest.mark.parametrize("edge", [32, 3])
def test_channels_and_rows_stay_where_they_are(tmp_path: Path, edge: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (edge, edge, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    body = f"""
def pets():
    pixels = np.load({str(tmp_path / "pixels.npy")!r})
    data = Listed([(pixels, 0), (torch.from_numpy(pixels).permute(2, 0, 1) / 255, 1)])
    return data, data
"""
    images = load(tmp_path, body).train.images
    assert (images[0] == pixels).all()
    assert (images[1] == pixels).all()


def test_a_collate_function_makes_the_batches_and_may_drop_items(tmp_path: Path) -> None:
    body = """
def collate(items):
    kept = [(image, label) for image, label in items if label is not None]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image, _ in kept]) / 255
    return 1 - images, torch.tensor([label for _, label in kept])
def pets():
    data = Listed([(pixels, None if i == 2 else i % 2) for i, pixels in enumerate(GREY)])
    return data, data, collate
"""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    dataset = load(tmp_path, body)
    assert dataset.train.images[:, 0, 0, 0].tolist() == [255, 245, 225, 215, 205]
    assert dataset.train.labels.tolist() == [0, 1, 1, 0, 1]
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_several_sizes_are_brought_to_one(tmp_path: Path) -> None:
    body = """
def pets():
    data = Listed([(np.zeros((40 + i, 50, 3), np.uint8), i % 2) for i in range(4)])
    return data, data
"""
    assert load(tmp_path, body, image_size=36).train.images.shape == (4, 36, 36, 3)


def test_classes_are_named_by_the_dataset(tmp_path: Path) -> None:
    body = "def pets():\n    data = Listed([(p, 0) for p in GREY], ['cat', 'dog'])\n    return data, data"
    assert load(tmp_path, body).classes == ("cat", "dog")


def test_a_neighbouring_module_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("LABEL = 1")
    body = """
def pets():
    from neighbour_of_mine import LABEL
    data = Listed([(p, i % 2 * LABEL) for i, p in enumerate(GREY)])
    return data, data
"""
    assert load(tmp_path, body).train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("cats = 1", "mine.py defines no callable 'pets'"),
        ("pets = 1", "mine.py defines no callable 'pets'"),
        ("def pets(: pass", "raised SyntaxError"),
        ("def pets(): raise KeyError('no disk')", "raised KeyError: 'no disk'"),
        ("def pets(): return Listed([])", r"must return \(train, test\) or .*, not Listed"),
        ("def pets(): return Listed([]), Listed([])", "the training Dataset is empty"),
        ("def pets(): return Listed([(GREY[0], 0)]), Listed([])", "gave no test images"),
        ("def pets(): return iter([]), iter([])", "has no length or no items: a map-style Dataset is needed"),
        ("def pets(): return [GREY[0]], [GREY[0]]", "an item of the Dataset is ndarray; it must be a pair"),
        (
            "def pets(): return [(np.zeros((5, 5, 7), np.uint8), 0)], []",
            r"an image is of shape \(5, 5, 7\); it must be",
        ),
        ("def pets(): return [(np.zeros(5, np.uint8), 0)], []", r"an image is of shape \(5,\); it must be"),
        ("def pets(): return [('cat.jpg', 0)], []", "an image is str; it must be a PIL image"),
        ("def pets(): return [(torch.randn(3, 9, 9) - 2, 0)], []", "values outside what is allowed"),
        ("def pets(): return [(torch.full((3, 9, 9), torch.nan), 0)], []", "values outside what is allowed"),
        ("def pets(): return [(GREY[0].astype(int), 0)], []", "an image is int64"),
        ("def pets(): return [(GREY[0], 'cat')], []", "label 'cat' is no int"),
        ("def pets(): return [(GREY[0], -1)], []", "label -1 is negative"),
        ("def pets(): return [(GREY[0], 0)], [(GREY[0], 3)]", r"labels \[3\] are in test and not in train"),
        ("def pets(): return Listed([(GREY[0], 2)], 'ab'), Listed([(GREY[0], 2)])", "label 2, but only 2 classes"),
        ("def pets(): return Listed([(GREY[0], 0)], 'ab'), Listed([(GREY[0], 0)], 'ba')", "classes of .* differ"),
        ("def pets(): return [(GREY[0], 0)], [], lambda b: (GREY[:2], [0])", "must hold as many images as labels"),
        ("def pets(): return [(GREY[0], 0)], [], lambda b: GREY[0]", "a batch of the collate function is ndarray"),
        (
            "def pets(): return [(GREY[0], 0)], [], lambda b: (GREY[:2], [0, 0])",
            "more images than .* length, 1",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, body)
    assert "pets" in str(caught.value)
    assert "\n" not in str(caught.value)
