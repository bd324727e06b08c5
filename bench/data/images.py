"""Decoded data sets of images: loading, opening, and halves of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.datasets import Source, parse, resolve, stamp_of
from bench.core.errors import InputError, Unsupported
from bench.data import custom, known
from bench.data.decode import (
    FORMAT,
    Decoded,
    Labels,
    Meta,
    Pixels,
    Stored,
    Supply,
    array_files,
    building,
    decode,
    open_folder,
    publish,
    remove_stale,
    stored_arrays,
)

Triple = tuple[float, float, float]

SMALLEST = 32
"""Images are not stored smaller than this unless their source has them smaller."""
HELD_OUT = {"mnist5k": 500, "cifar10": 5_000}
"""Images set aside where a recipe chooses an epoch; of other data sets a tenth."""
FEWEST_CLASSES = 4
"""Classes that a data set needs for each half of it to have two."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images uint8 (N, H, W, 3), memory-mapped, and their labels int64 (N,).

    Images of mnist5k and of folders are stored with the classes taking turns, so that the first n images hold every
    class about equally often, whatever n is; others in the order of their source.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Decoded data set. ``mean`` and ``std`` are of each channel over all pixels of ``train``, where white is 1."""

    name: str
    spec: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    held_out: int
    """Number of training images that a recipe which chooses an epoch sets aside."""
    flip: bool
    """True if a mirrored image still belongs to its class."""
    mean: Triple
    std: Triple
    digest: str
    """First 16 hexadecimal digits of the SHA-256 of all images and labels."""


def load_dataset(spec: str, *, data_dir: Path, image_size: int = 32, progress: Callable[[str], None]) -> ImageDataset:
    """Load the data set ``spec``, decoded into ``data_dir/cache`` at the first call and mapped from there later.

    Images of one square size of at most ``max(32, image_size)`` are stored as they are. Otherwise the shorter side is
    resized to that and the middle cropped. The pipelines resize images to a network's input size. A changed source is
    decoded again. ``progress`` gets a line about once a second.

    Raises:
        InputError: the data set is unknown, missing, incomplete, unreadable or not downloadable, or cannot be cached.
    """
    source = parse(resolve(spec, data_dir))
    mark, edge, place = stamp_of(source), max(SMALLEST, image_size), data_dir / "cache"
    stored = stored_arrays(place, source, mark, edge)
    if stored is None:
        progress(f"decoding {source.name} into {place}")
        try:
            stored = _build(spec, source, data_dir, mark, edge, progress)
        except OSError as error:
            raise InputError(f"data set '{spec}' cannot be decoded into {place}: {error}") from error
        remove_stale(place, source, mark)
    return replace(_dataset(stored), spec=spec)


def dataset_folder(spec: str, *, data_dir: Path, image_size: int = 32) -> Path:
    """Return the folder into which ``load_dataset`` decoded ``spec``, for ``open_dataset``.

    Raises:
        InputError: there is none, or the source has changed since.
    """
    source = parse(resolve(spec, data_dir))
    stored = stored_arrays(data_dir / "cache", source, stamp_of(source), max(SMALLEST, image_size))
    if stored is None:
        raise InputError(f"data set '{spec}' changed while it was in use: run again, do not change it meanwhile")
    return stored.folder


def open_dataset(folder: Path) -> ImageDataset:
    """Open the data set decoded into ``folder`` without reading its source: takes milliseconds.

    Raises:
        InputError: the folder is missing or incomplete.
    """
    stored = open_folder(folder)
    if stored is None:
        raise InputError(f"the decoded data set in {folder} is missing or incomplete: run again to decode it anew")
    return _dataset(stored)


def _dataset(stored: Stored) -> ImageDataset:
    train, test = (Split(images=images, labels=labels) for images, labels in (stored.train, stored.test))
    return ImageDataset(
        name=stored.meta.name,
        spec=stored.meta.spec,
        classes=stored.meta.classes,
        train=train,
        test=test,
        held_out=HELD_OUT.get(stored.meta.kind, max(1, len(train.labels) // 10)),
        flip=stored.meta.kind != "mnist5k",
        mean=stored.meta.mean,
        std=stored.meta.std,
        digest=stored.meta.digest,
    )


def _build(spec: str, source: Source, data_dir: Path, mark: str, edge: int, progress: Callable[[str], None]) -> Stored:
    with building(data_dir / "cache") as folder:
        decoded = decode(_supply(source, data_dir, progress), folder, edge, progress)
        return publish(folder, source, _meta(spec, source, mark, decoded, folder))


def _supply(source: Source, data_dir: Path, progress: Callable[[str], None]) -> Supply:
    if source.kind == "mnist5k":
        return known.mnist5k()
    if source.kind == "cifar10":
        return known.cifar10(data_dir, progress)
    return custom.custom(source) if source.kind == "callable" else known.folder(source.path, progress)


def _meta(spec: str, source: Source, mark: str, decoded: Decoded, folder: Path) -> Meta:
    files = {part: array_files(folder, part) for part in ("train", "test")}
    arrays = {part: (np.load(images, mmap_mode="r"), np.load(labels)) for part, (images, labels) in files.items()}
    mean, std = _statistics(arrays["train"][0])
    return Meta(
        format=FORMAT,
        name=source.name,
        kind=source.kind,
        spec=spec,
        source=source.identity,
        stamp=mark,
        edge=decoded.fit.edge,
        natural=decoded.fit.natural,
        classes=decoded.classes,
        mean=mean,
        std=std,
        digest=_digest(arrays["train"], arrays["test"]),
    )


def _statistics(images: Pixels, chunk: int = 500) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel over all pixels. Sums are of integers, so exact."""
    sums = squares = np.zeros(3, np.uint64)
    for start in range(0, len(images), chunk):
        pixels = np.asarray(images[start : start + chunk]).reshape(-1, 3).astype(np.uint32)
        sums = sums + pixels.sum(axis=0, dtype=np.uint64)
        squares = squares + np.square(pixels).sum(axis=0, dtype=np.uint64)
    count = images.size // 3
    mean = sums / count
    std = np.sqrt(squares / count - mean**2)
    return _triple(mean / 255), _triple(std / 255)


def _triple(values: NDArray[np.float64]) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _digest(*splits: tuple[Pixels, Labels]) -> str:
    whole = hashlib.sha256()
    for images, labels in splits:
        whole.update(f"{images.shape}".encode())
        for start in range(0, len(images), 1_000):
            whole.update(np.ascontiguousarray(images[start : start + 1_000]).data)
        whole.update(np.ascontiguousarray(labels).data)
    return whole.hexdigest()[:16]


def half_of(dataset: ImageDataset, *, second: bool) -> ImageDataset:
    """Return the images of the first half of the classes, or of the second, labelled from 0.

    Pixel statistics and digest stay those of the whole set. If the number of classes is odd, the second half has one
    more.

    Raises:
        Unsupported: there are too few classes.
    """
    count = len(dataset.classes)
    if count < FEWEST_CLASSES:
        raise Unsupported(f"{dataset.name} has {count} classes: halves of them need {FEWEST_CLASSES} or more")
    middle = count // 2
    first, last = (middle, count) if second else (0, middle)
    train, test = (_between(split, first, last) for split in (dataset.train, dataset.test))
    return replace(
        dataset,
        name=f"{dataset.name}, classes {first + 1} to {last} of {count}",
        classes=dataset.classes[first:last],
        train=train,
        test=test,
        held_out=round(dataset.held_out * len(train.labels) / len(dataset.train.labels)),
    )


def _between(split: Split, first: int, last: int) -> Split:
    rows = np.flatnonzero((split.labels >= first) & (split.labels < last))
    return Split(images=split.images[rows], labels=split.labels[rows] - first)
