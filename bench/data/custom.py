"""Datasets of the user's own: ``FILE.py:callable`` returns a training and a test one, maybe a collate function."""

from __future__ import annotations

import importlib.util
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.datasets import Source
from bench.core.errors import InputError
from bench.data.decode import Fit, Labels, NotUniformError, Part, Pixels, Supply, to_rgb

COLLATE_BATCH = 64

_ALLOWED = "a PIL image, uint8 pixels or a float tensor (3, H, W) from 0 to 1 (normalising comes later)"


def custom(source: Source) -> Supply:
    """Call the user's function in ``source``: it returns ``(train, test)`` or ``(train, test, collate_fn)``.

    Both Datasets have a length and give pairs of image and label. An image is a PIL image, uint8 pixels (grey, or with
    1 or 3 channels) or a float tensor (3, H, W) from 0 to 1; a label is an int from 0. With a collate function, its
    batches (images, labels) are used, and may be smaller than their input. Each item is read once and stored: the
    suite does the augmentation.

    Raises:
        InputError: the user's code raises, or returns something else.
    """
    with _blamed(source):
        returned = _load(source)()
        if not isinstance(returned, tuple) or len(returned) not in (2, 3):
            raise InputError(f"it must return (train, test) or (train, test, collate_fn), not {_kind(returned)}")
        train, test = returned[:2]
        collate = returned[2] if len(returned) == 3 else None
        first, _ = next(_items(train, collate), (None, None))
        if first is None:
            raise InputError("the training Dataset is empty")
        return Supply(
            name=source.name,
            size=Image.fromarray(_pixels(first)).size,
            classes=_classes(train, test),
            train=Part(rows=len(train), batches=partial(_batches, source, train, collate)),
            test=Part(rows=len(test), batches=partial(_batches, source, test, collate)),
        )


def _load(source: Source) -> Callable[[], Any]:
    name = f"_data_{source.path.stem}"
    specification = importlib.util.spec_from_file_location(name, source.path)
    if specification is None or specification.loader is None:
        raise InputError(f"{source.path} is not a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    specification.loader.exec_module(module)
    function = getattr(module, source.attribute, None)
    if not callable(function):
        raise InputError(f"{source.path.name} defines no callable '{source.attribute}'")
    return function  # type: ignore[no-any-return]  # its result is checked


@contextmanager
def _blamed(source: Source) -> Iterator[None]:
    """Turn errors of the user's code into one line. Modules in its folder can be imported meanwhile."""
    sys.path.insert(0, str(source.path.parent))
    try:
        yield
    except NotUniformError:
        raise
    except InputError as error:
        raise InputError(f"{_who(source)}: {error}") from error
    except Exception as error:
        message = " ".join(str(error).split())
        raise InputError(f"{_who(source)} raised {type(error).__name__}: {message}") from error
    finally:
        sys.path.remove(str(source.path.parent))


def _batches(source: Source, dataset: Any, collate: Any, fit: Fit) -> Iterator[tuple[Pixels, Labels]]:
    with _blamed(source):
        for number, (image, label) in enumerate(_items(dataset, collate)):
            if number == len(dataset):
                raise InputError(f"the collate function gives more images than the Dataset's length, {number}")
            yield fit(Image.fromarray(_pixels(image)))[None], np.asarray([_label(label)], np.int64)


def _items(dataset: Any, collate: Any) -> Iterator[tuple[Any, Any]]:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputError(f"{type(dataset).__name__} has no length or no items: a map-style Dataset is needed")
    if collate is None:
        for index in range(len(dataset)):
            yield _pair(dataset[index], "an item of the Dataset")
        return
    import torch
    from torch.utils.data import DataLoader

    # A generator of its own leaves torch's where it was.
    for batch in DataLoader(dataset, COLLATE_BATCH, collate_fn=collate, generator=torch.Generator()):
        images, labels = _pair(batch, "a batch of the collate function")
        yield from _matched(images, labels)


def _matched(images: Iterable[Any], labels: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    try:
        yield from zip(images, labels, strict=True)
    except ValueError as error:
        raise InputError("a batch of the collate function must hold as many images as labels") from error


def _pair(value: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise InputError(f"{what} is {type(value).__name__}; it must be a pair of image and label")
    return value[0], value[1]


def _label(value: Any) -> int:
    try:
        label = operator.index(value)
    except TypeError:
        raise InputError(f"label {value!r} is no int; labels are ints from 0") from None
    if label < 0:
        raise InputError(f"label {label} is negative; labels are ints from 0")
    return label


def _pixels(image: Any) -> Pixels:
    """Convert any allowed image to uint8 (H, W, 3)."""
    import torch

    if isinstance(image, Image.Image):
        return np.asarray(to_rgb(image))
    if not isinstance(image, torch.Tensor | np.ndarray):
        raise InputError(f"an image is {type(image).__name__}; it must be {_ALLOWED}")
    first = isinstance(image, torch.Tensor)
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else image
    return _three_channels(_bytes(array), first, array.shape)


def _bytes(array: NDArray[Any]) -> Pixels:
    if array.dtype == np.uint8:
        whole: Pixels = array
        return whole
    if array.dtype.kind != "f" or not np.all((array >= 0) & (array <= 1)):
        raise InputError(f"an image is {array.dtype} with values outside what is allowed; it must be {_ALLOWED}")
    rounded: Pixels = np.rint(array * 255).astype(np.uint8)
    return rounded


def _three_channels(pixels: Pixels, channels_first: bool, shape: tuple[int, ...]) -> Pixels:
    """Convert (H, W), (1 or 3, H, W) or (H, W, 1 or 3) to (H, W, 3). In doubt, channels come first in tensors."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    channels = (1, 3)
    if pixels.ndim != 3 or not pixels.size or not {pixels.shape[0], pixels.shape[2]} & {*channels}:
        raise InputError(f"an image is of shape {tuple(shape)}; it must be {_ALLOWED}")
    if (channels_first and pixels.shape[0] in channels) or pixels.shape[2] not in channels:
        pixels = pixels.transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _classes(train: Any, test: Any) -> tuple[str, ...] | None:
    """Names of the classes, from the Datasets' ``classes`` as torchvision has it."""
    train_names, test_names = (getattr(dataset, "classes", None) for dataset in (train, test))
    if not train_names:
        return None
    if test_names and list(train_names) != list(test_names):
        raise InputError("classes of the training and of the test Dataset differ")
    return tuple(str(name) for name in train_names)


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__


def _who(source: Source) -> str:
    return f"data set '{Path(source.path).name}:{source.attribute}'"
