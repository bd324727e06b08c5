"""Mixed precision: each layer quantised alone, and the most sensitive kept in floating point until the drop is small.

A layer's sensitivity is the KL divergence of the outputs from float32's where that layer alone is quantised. The drop
is the share of images whose most probable class changes: no more accuracy than that can be lost, whatever the right
classes are. Ranking and search use training images that calibrate nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.core.errors import InputError, Unsupported
from bench.core.records import Case
from bench.core.runtimes import RUNTIMES
from bench.core.workspace import Workspace
from bench.data.images import ImageDataset, Split
from bench.data.pipelines import evaluation_batches
from bench.experiments.subject import (
    CALIBRATION_IMAGES,
    Subject,
    calibration_batches,
    load_subject,
    reference_network,
)
from bench.measure.quality import divergences
from bench.runtimes.route import BETWEEN, SPARED, Order

HELD_OUT = 1000
"""Training images that judge, none of which calibrates."""
RUNTIMES_WITH = ("onnxruntime", "openvino")
"""Runtimes whose quantisation leaves out layers by name."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, quantised alone."""

    name: str
    kl: float
    """Mean KL divergence of the outputs from float32's, in nats."""
    changed: float
    """Share of images whose most probable class is another one."""
    bytes_saved: int
    """Bytes of weights that quantising it saves."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A network with some layers quantised, judged on the held-out images."""

    logits: Logits
    weight_bytes: int


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Layers from the most sensitive to the least, and how many of them stay in floating point."""

    layers: tuple[Layer, ...]
    spared: tuple[str, ...]
    drop: float
    """Share of held-out images whose most probable class changes: the most accuracy that is lost, from 0 to 1."""
    drop_of_all: float
    """With every layer quantised."""
    weight_bytes: int

    @property
    def words(self) -> str:
        """For people: what stays in floating point, and what that costs and gives."""
        kept = f"{len(self.spared)} of {len(self.layers)} layers stay in floating point"
        named = f" ({', '.join(self.spared)})" if self.spared else ""
        return (
            f"{kept}{named}: {100 * self.drop:.1f} % of held-out labels change, {100 * self.drop_of_all:.1f} % with "
            f"every layer quantised; {self.weight_bytes:,} bytes of weights"
        )


def find_mixed(
    names: Sequence[str],
    attempt: Callable[[tuple[str, ...]], Tried],
    expected: Tried,
    most_drop: float,
) -> Mixed:
    """The fewest most sensitive layers whose sparing keeps the drop within ``most_drop``.

    Args:
        names: of all layers that can be quantised.
        attempt: gives the network with all but these layers quantised.
        expected: the float32 network.
        most_drop: share of images whose class may change, from 0 to 1.

    Raises:
        ValueError: there is no layer.
    """
    if not names:
        raise ValueError("a network without layers cannot be quantised")
    alone = [_alone(name, names, attempt, expected) for name in names]
    ranked = tuple(sorted(alone, key=lambda layer: -layer.kl))
    order = [layer.name for layer in ranked]
    seen: dict[int, tuple[float, int]] = {}

    def drop(count: int) -> float:
        if count not in seen:
            tried = expected if count == len(order) else attempt(tuple(order[:count]))
            seen[count] = (_changed(expected.logits, tried.logits), tried.weight_bytes)
        return seen[count][0]

    low, high = -1, 0
    while drop(high) > most_drop:
        low, high = high, min(len(order), max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if drop(middle) <= most_drop else (middle, high)
    return Mixed(
        layers=ranked,
        spared=tuple(order[:high]),
        drop=seen[high][0],
        drop_of_all=seen[0][0],
        weight_bytes=seen[high][1],
    )


def _alone(name: str, names: Sequence[str], attempt: Callable[[tuple[str, ...]], Tried], expected: Tried) -> Layer:
    tried = attempt(tuple(other for other in names if other != name))
    return Layer(
        name=name,
        kl=float(divergences(expected.logits, tried.logits).mean()),
        changed=_changed(expected.logits, tried.logits),
        bytes_saved=expected.weight_bytes - tried.weight_bytes,
    )


def _changed(expected: Logits, logits: Logits) -> float:
    return float((expected.argmax(axis=1) != logits.argmax(axis=1)).mean())


def mixed_case(case: Case, space: Workspace, most_drop: float) -> tuple[Case, Mixed]:
    """``case`` with the layers named that its runtime has to spare, and how they were found.

    Raises:
        InputError: the route quantises no layers by name.
        Unsupported: the network cannot be converted, or has no layer to quantise.
    """
    if case.runtime not in RUNTIMES_WITH or case.precision != "int8_static":
        routes = " and ".join(f"{name}:int8_static" for name in RUNTIMES_WITH)
        raise InputError(f"--max-drop goes with {routes}, not with {case.runtime}:{case.precision}.")
    subject = load_subject(replace(case, precision="fp32"), space)
    rows = held_out_rows(subject.dataset)
    module = importlib.import_module((RUNTIMES[case.runtime].classifier_entry or "").partition(":")[0])
    names: tuple[str, ...] = module.layers_of(_order(case, space, subject))
    if not names:
        raise Unsupported("the network has no convolution or linear layer to quantise")

    def attempt(spared: tuple[str, ...]) -> Tried:
        return _tried(load_subject(sparing(case, spared), space), rows, case.image_size)

    mixed = find_mixed(names, attempt, _tried(subject, rows, case.image_size), most_drop)
    return sparing(case, mixed.spared), mixed


def sparing(case: Case, spared: Sequence[str]) -> Case:
    """``case`` with these layers left in floating point."""
    options = {**dict(case.options), SPARED: BETWEEN.join(spared) or None}
    return replace(case, options=tuple(sorted((name, value) for name, value in options.items() if value is not None)))


def _order(case: Case, space: Workspace, subject: Subject) -> Order:
    return Order(
        case=case,
        workspace=space,
        network=reference_network(case, space),
        calibration=lambda: calibration_batches(subject.dataset, subject.normalize, case.image_size),
    )


def held_out_rows(dataset: ImageDataset) -> npt.NDArray[np.int64]:
    """Training images from all over the set, without those that calibrate."""
    count = len(dataset.train.labels)
    calibrating = np.linspace(0, count - 1, min(count, CALIBRATION_IMAGES)).astype(np.int64)
    left = np.setdiff1d(np.arange(count), calibrating)
    return left[np.linspace(0, len(left) - 1, min(len(left), HELD_OUT)).astype(np.int64)]


def _tried(subject: Subject, rows: npt.NDArray[np.int64], side: int) -> Tried:
    return Tried(
        logits=logits_of(subject, subject.dataset.train, rows, side), weight_bytes=subject.route.weight_bytes()
    )


def logits_of(subject: Subject, split: Split, rows: npt.NDArray[np.int64], side: int) -> Logits:
    """Outputs of the route on these images, in batches of one size."""
    size = min(50, len(rows))
    run = subject.route.for_batch(size)
    found = []
    padded = np.resize(rows, -(-len(rows) // size) * size)
    batches = evaluation_batches(
        split,
        normalize=subject.normalize,
        image_size=side,
        batch_size=size,
        device="cpu",
        indices=padded,
    )
    with torch.inference_mode():
        for images, _ in batches:
            found.append(run(images).float().numpy().copy())
    return np.concatenate(found)[: len(rows)]


def write_table(mixed: Mixed, file: Path) -> None:
    """The layers as CSV, most sensitive first."""
    lines = ["layer,kl_nats,changed_share,bytes_saved,spared"]
    for layer in mixed.layers:
        name = '"' + layer.name.replace('"', '""') + '"'
        spared = "yes" if layer.name in mixed.spared else "no"
        lines.append(f"{name},{layer.kl:.6g},{layer.changed:.4f},{layer.bytes_saved},{spared}")
    file.write_text("\n".join(lines) + "\n")
