"""Decoded data sets on disk, one folder each: opened where whole, else built under another name and renamed.

A folder is ``<name>-<edge>-<stamp>`` and holds ``{train,test}-{images,labels}.npy`` and ``meta.json``. A killed process
leaves only an unfinished folder, which is never opened. Of two processes that build the same one, the second uses the
folder of the first.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.datasets import Source, cache_name
from bench.core.records import from_json, to_json
from bench.data.decode import Labels, Pixels, array_files

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


def find(cache: Path, source: Source, stamp: str, edge: int) -> Stored | None:
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
