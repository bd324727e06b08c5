"""Decoding: from any source to arrays of one square size on disk, one folder each.

A folder is ``<name>-<edge>-<stamp>`` and holds ``{train,test}-{images,labels}.npy`` and ``meta.json``. It is opened
where whole, else built under another name and renamed. A killed process leaves only an unfinished folder, which is
never opened. Of two processes that build the same one, the second uses the folder of the first.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from bench.core.datasets import Source, cache_name
from bench.core.errors import InputError
from bench.core.records import from_json, to_json

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

_SIXTEEN_BITS_AS_I = ("PNG", "PPM")
"""Formats whose 16-bit grey some versions of Pillow open as mode I; elsewhere I is 32 bits."""
_WHITE_IS_ZERO = 0
"""Photometric interpretation of inverted TIFF files. Pillow applies it up to 8 bits only."""


class NotUniformError(Exception):
    """Image of another size than the first one."""


class UnknownWhiteError(InputError):
    """Image whose pixel format does not define which number is white."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Square images of ``edge`` pixels: of that size in their source if ``natural``, else resized and cropped."""

    edge: int
    natural: bool

    def __call__(self, image: Image.Image) -> Pixels:
        """Return uint8 (edge, edge, 3): the shorter side resized, the middle cropped, as Resize and CenterCrop do.

        Raises:
            NotUniformError: images are expected to be natural and this one has another size.
            UnknownWhiteError: see ``to_rgb``.
        """
        image = to_rgb(image)
        if image.size != (self.edge, self.edge):
            if self.natural:
                raise NotUniformError
            image = self._middle(image)
        return np.asarray(image)

    def _middle(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        short = min(width, height)
        size = self.edge * width // short, self.edge * height // short
        left, top = (round((side - self.edge) / 2) for side in size)
        resized = image.resize(size, Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + self.edge, top + self.edge))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Source of one split: at most ``rows`` images, in batches of images (n, edge, edge, 3) and labels (n,)."""

    rows: int
    batches: Callable[[Fit], Iterator[tuple[Pixels, Labels]]]


@dataclass(frozen=True, kw_only=True)
class Supply:
    """Both splits of a source. ``size`` is width and height of its first image.

    ``classes`` may be None: each class is then named by its label. ``finish`` is called after the last image and raises
    an InputError if images were skipped that the data set needs.
    """

    name: str
    size: tuple[int, int]
    classes: tuple[str, ...] | None
    train: Part
    test: Part
    finish: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Classes of a decoded data set, and the fit of its images."""

    classes: tuple[str, ...]
    fit: Fit


def decode(supply: Supply, folder: Path, edge: int, progress: Callable[[str], None]) -> Decoded:
    """Write {train,test}-{images,labels}.npy into ``folder``, images at most ``edge`` pixels wide and high.

    Raises:
        InputError: the source has no images, unreadable ones, or labels of test that train lacks.
    """
    width, height = supply.size
    if 0 < width == height <= edge:
        try:
            return _decode_as(supply, folder, Fit(edge=width, natural=True), progress)
        except NotUniformError:
            progress(f"images of {supply.name} differ in size: resizing all to {edge} pixels")
    return _decode_as(supply, folder, Fit(edge=edge, natural=False), progress)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB; transparency is dropped, as torchvision's image folders do.

    Grey of more than 8 bits is scaled by the white of its depth and rounded. Pillow's ``convert`` would clip it.

    Raises:
        UnknownWhiteError: pixels are 32-bit integers or floats.
    """
    if image.mode == "RGB":
        return image
    if image.mode == "P":
        image = image.convert("RGBA")  # Pillow warns of transparency on the direct way
    if image.mode[0] in "IF":
        image = Image.fromarray(_deep_grey(image))
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Pixels:
    """Scale grey of more than 8 bits to uint8 (H, W)."""
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        (bits,) = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))
    elif image.mode == "I" and image.format in _SIXTEEN_BITS_AS_I:
        bits = 16
    else:
        raise UnknownWhiteError(f"pixels of mode {image.mode} define no white: save it with 8 or 16 bits a channel")
    white = 2**bits - 1
    values = np.asarray(image).astype(np.int64)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        values = white - values
    scaled: Pixels = ((values * 510 + white) // (2 * white)).astype(np.uint8)
    return scaled


def array_files(folder: Path, part: str) -> tuple[Path, Path]:
    """Paths of the images and of the labels of ``part``."""
    return folder / f"{part}-images.npy", folder / f"{part}-labels.npy"


def _decode_as(supply: Supply, folder: Path, fit: Fit, progress: Callable[[str], None]) -> Decoded:
    parts = {"train": supply.train, "test": supply.test}
    labels = {
        name: _write(part, folder, name, fit, _Counter(f"decoding {supply.name} {name}", part.rows, progress))
        for name, part in parts.items()
    }
    supply.finish()
    for name, split_labels in labels.items():
        if not len(split_labels):
            raise InputError(f"data set '{supply.name}' gave no {name} images; it must give at least one")
    return Decoded(classes=_classes(supply, labels["train"], labels["test"]), fit=fit)


def _write(part: Part, folder: Path, name: str, fit: Fit, counter: _Counter) -> Labels:
    images_file, labels_file = array_files(folder, name)
    images = np.lib.format.open_memmap(images_file, "w+", np.uint8, (max(part.rows, 1), fit.edge, fit.edge, 3))
    labels: list[Labels] = [np.empty(0, np.int64)]
    done = 0
    for pixels, batch_labels in part.batches(fit):
        images[done : done + len(pixels)] = pixels
        labels.append(batch_labels)
        done += len(pixels)
        counter.report(done)
    images.flush()
    if done < len(images):  # some were unreadable, or a collate function dropped them
        fewer = images_file.with_suffix(".fewer.npy")
        np.save(fewer, images[:done])
        os.replace(fewer, images_file)
    whole = np.concatenate(labels)
    np.save(labels_file, whole)
    return whole


def _classes(supply: Supply, train: Labels, test: Labels) -> tuple[str, ...]:
    if extra := set(test.tolist()) - set(train.tolist()):
        raise InputError(f"data set '{supply.name}': labels {sorted(extra)[:5]} are in test and not in train")
    count = int(train.max()) + 1
    if supply.classes is None:
        return tuple(str(label) for label in range(count))
    if count > len(supply.classes):
        raise InputError(f"data set '{supply.name}': label {count - 1}, but only {len(supply.classes)} classes")
    return supply.classes


class _Counter:
    """Report the progress of a decoding about once a second."""

    def __init__(self, what: str, total: int, progress: Callable[[str], None]) -> None:
        self.what, self.total, self.progress = what, total, progress
        self.reported = time.monotonic()

    def report(self, done: int) -> None:
        now = time.monotonic()
        if now - self.reported >= 1:
            self.reported = now
            self.progress(f"{self.what}: {done:,} of {self.total:,} images")


FORMAT = 2
"""Number of the storage format. Raised when the same source would be stored in another way."""
ABANDONED_SECONDS = 6 * 3600

_BUILDING = ".building-"


@dataclass(frozen=True, kw_only=True)
class Meta:
    """Content of ``meta.json``. ``natural``: the images have the size that they have in their source.

    ``source`` identifies the data set; ``spec`` is the user's name for it when it was decoded.
    """

    format: int
    name: str
    kind: str
    spec: str
    source: str
    stamp: str
    edge: int
    natural: bool
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Decoded data set, its arrays mapped from ``folder``."""

    folder: Path
    meta: Meta
    train: tuple[Pixels, Labels]
    test: tuple[Pixels, Labels]


def stored_arrays(cache: Path, source: Source, stamp: str, edge: int) -> Stored | None:
    """Return the arrays of ``source`` in its present state, or None.

    They are natural and no larger than ``edge``, or resized to ``edge``.
    """
    for folder in sorted(cache.glob(f"{cache_name(source)}-*-{stamp}")):
        stored = open_folder(folder)
        if stored is None or stored.meta.source != source.identity:
            continue
        if stored.meta.edge == edge or (stored.meta.natural and stored.meta.edge < edge):
            return stored
    return None


@contextmanager
def building(cache: Path) -> Iterator[Path]:
    """Yield an empty folder to decode into. It is removed at the end unless ``publish`` has moved it."""
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{_BUILDING}{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, source: Source, meta: Meta) -> Stored:
    """Rename ``folder`` to its final name and map its arrays from there.

    Raises:
        OSError: the final folder cannot be written.
    """
    (folder / "meta.json").write_text(json.dumps(to_json(meta), indent=1), encoding="utf-8")
    for file in folder.iterdir():
        _to_disk(file)
    place = folder.parent / f"{cache_name(source)}-{meta.edge}-{meta.stamp}"
    for _ in range(2):
        try:
            os.rename(folder, place)
        except OSError:
            stored = open_folder(place)
            if stored is not None:  # another process was faster
                return stored
            shutil.rmtree(place, ignore_errors=True)
        else:
            break
    stored = open_folder(place)
    if stored is None:
        raise OSError(f"{place} cannot be written or read back")
    return stored


def remove_stale(cache: Path, source: Source, stamp: str) -> None:
    """Remove folders decoded from an earlier state of ``source``, and those that killed processes left hours ago."""
    for folder in cache.glob(f"{cache_name(source)}-*"):
        meta = _read_meta(folder)
        if meta is not None and meta.source == source.identity and meta.stamp != stamp:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in cache.glob(f"{_BUILDING}*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def open_folder(folder: Path) -> Stored | None:
    """Open the arrays in ``folder``; None if it is not whole: a file is missing, truncated or misfits the others."""
    meta = _read_meta(folder)
    if meta is None:
        return None
    try:
        train, test = (_arrays(folder, part, meta.edge) for part in ("train", "test"))
    except (OSError, ValueError, EOFError):
        return None
    return Stored(folder=folder, meta=meta, train=train, test=test)


def _arrays(folder: Path, part: str, edge: int) -> tuple[Pixels, Labels]:
    images_file, labels_file = array_files(folder, part)
    images: Any = np.load(images_file, mmap_mode="r")
    labels: Any = np.load(labels_file)
    if images.shape != (len(labels), edge, edge, 3) or images.dtype != np.uint8:
        raise ValueError(f"{images_file} holds {images.dtype} of shape {images.shape}")
    return images, labels


def _read_meta(folder: Path) -> Meta | None:
    try:
        meta = from_json(Meta, json.loads((folder / "meta.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return meta if meta.format == FORMAT else None


def _to_disk(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
