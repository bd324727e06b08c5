"""Mixed precision: each layer quantised alone, and the most sensitive kept in floating point until the drop is small.

A layer's sensitivity is the KL divergence of the outputs from float32's where that layer alone is quantised. The drop
is the accuracy that is lost on held-out images, one standard error of the paired change added. Where nobody knows their
classes it is the share of images whose most probable class changes: no more accuracy than that can be lost. Ranking and
search use training images that calibrate nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import Unsupported
from bench.core.quality import LAYER, Layer
from bench.core.records import from_json, to_json
from bench.measure.quality import divergences

FILE = "sensitivity.json"
"""File of the search beside a route's model, so that further processes need not search again."""

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A network with some layers quantised, judged on the held-out images."""

    logits: Logits
    weight_bytes: int


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Layers from the most sensitive to the least, and those of them that stay in floating point."""

    layers: tuple[Layer, ...]
    drop: float
    """Accuracy that is lost, from 0 to 1, as above."""
    drop_of_all: float
    """With every layer quantised."""
    images: int
    """Number of held-out images."""
    labelled: bool
    """True if their classes are known."""

    @property
    def spared(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers if layer.spared)

    @property
    def texts(self) -> dict[str, str]:
        """Layers as texts of a row, most sensitive first."""
        return {f"{LAYER}{place}": str(layer) for place, layer in enumerate(self.layers, start=1)}

    @property
    def note(self) -> str:
        """Layers that stay in floating point, and the drop with and without them."""
        kept = f"{len(self.spared)} of {len(self.layers)} layers stay in floating point"
        named = f" ({', '.join(self.spared)})" if self.spared else ""
        what = "points of accuracy are lost at most" if self.labelled else "% of labels change"
        return (
            f"{kept}{named}: {100 * self.drop:.1f} {what} on {self.images} held-out training images, "
            f"{100 * self.drop_of_all:.1f} with every layer quantised"
        )

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(to_json(self)))

    @staticmethod
    def read(folder: Path) -> Mixed | None:
        """The search that ``write`` left in ``folder``; None if there is none."""
        file = folder / FILE
        return from_json(Mixed, json.loads(file.read_text())) if file.is_file() else None


def find_mixed(
    names: Sequence[str],
    attempt: Callable[[tuple[str, ...]], Tried],
    expected: Tried,
    most_drop: float,
    labels: Labels | None = None,
) -> Mixed:
    """The fewest most sensitive layers whose sparing keeps the drop within ``most_drop``.

    Args:
        names: of all layers that can be quantised.
        attempt: gives the network with all but these layers quantised.
        expected: the float32 network.
        most_drop: accuracy that may be lost, from 0 to 1.
        labels: right outputs of the held-out images, at least as many as were judged; None if nobody knows them.

    Raises:
        Unsupported: there is no layer.
    """
    if not names:
        raise Unsupported("the network has no convolution or linear layer to quantise")
    alone = [_alone(name, names, attempt, expected) for name in names]
    ranked = sorted(alone, key=lambda layer: -layer.kl)
    order = [layer.name for layer in ranked]
    seen: dict[int, float] = {}

    def drop(count: int) -> float:
        if count not in seen:
            tried = expected if count == len(order) else attempt(tuple(order[:count]))
            seen[count] = _lost(expected.logits, tried.logits, labels)
        return seen[count]

    low, high = -1, 0
    while drop(high) > most_drop:
        low, high = high, min(len(order), max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if drop(middle) <= most_drop else (middle, high)
    return Mixed(
        layers=tuple(replace(layer, spared=place < high) for place, layer in enumerate(ranked)),
        drop=seen[high],
        drop_of_all=seen[0],
        images=len(expected.logits),
        labelled=labels is not None,
    )


def _alone(name: str, names: Sequence[str], attempt: Callable[[tuple[str, ...]], Tried], expected: Tried) -> Layer:
    tried = attempt(tuple(other for other in names if other != name))
    return Layer(
        name=name,
        kl=float(divergences(expected.logits, tried.logits).mean()),
        changed=_changed(expected.logits, tried.logits),
        bytes_saved=expected.weight_bytes - tried.weight_bytes,
        spared=False,
    )


def _lost(expected: Logits, logits: Logits, labels: Labels | None) -> float:
    if labels is None:
        return _changed(expected, logits)
    right = labels[: len(expected)]
    lost = (expected.argmax(axis=1) == right).astype(float) - (logits.argmax(axis=1) == right)
    return float(lost.mean() + lost.std() / math.sqrt(len(lost)))


def _changed(expected: Logits, logits: Logits) -> float:
    return float((expected.argmax(axis=1) != logits.argmax(axis=1)).mean())


@torch.inference_mode()
def logits_of(run: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> Logits:
    """Outputs of ``run`` on all images of ``batches``, shape (N, classes)."""
    return np.concatenate([run(images).float().numpy().copy() for images in batches])


def in_batches(images: Iterator[Tensor], size: int) -> tuple[Tensor, ...]:
    """All images, in batches of one size: some graphs take no other. The last ones that fill no batch are left out."""
    every = torch.cat(list(images))
    size = min(size, len(every))
    return torch.split(every[: len(every) // size * size], size)
