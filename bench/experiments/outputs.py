"""Outputs of a network: which stand for the classes of a data set, and how far they are from the reference's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import models
from bench.core.errors import InputError
from bench.core.records import Case, Divergence
from bench.data.images import ImageDataset

SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Outputs of a network that a data set's classes are judged by, in the order of the classes."""

    numbers: tuple[int, ...] | None = None
    """None: output i is class i, whatever outputs follow."""
    said: tuple[str, ...] = ()
    why_not_judged: str | None = None
    """Why no outputs stand for the classes; None where some do."""

    def fewest(self, classes: int) -> int:
        """Outputs that a network has to have, for a data set of ``classes``."""
        if self.why_not_judged:
            return 1
        return max(self.numbers) + 1 if self.numbers else classes

    def of(self, logits: Tensor) -> Tensor:
        """The chosen columns of ``logits`` (N, outputs)."""
        return logits if self.numbers is None else logits[:, list(self.numbers)]


def columns_of(case: Case, spec: models.ClassifierSpec, dataset: ImageDataset) -> Columns:
    """By the user's class map; else, for a pretrained network, by names, or by order where both have as many.

    Raises:
        InputError: the class map cannot be used.
    """
    given = case.option("class_map")
    names = models.class_names(spec.pretrained) if spec.pretrained else None
    if given:
        return Columns(numbers=read_class_map(Path(str(given)), dataset.classes, names))
    if names is None:
        return Columns()
    places = {name: number for number, name in enumerate(names)}
    if all(name in places for name in dataset.classes):
        said = f"the {len(dataset.classes)} classes of the data set are outputs of the same names"
        return Columns(numbers=tuple(places[name] for name in dataset.classes), said=(said,))
    if len(names) == len(dataset.classes):
        return Columns(said=(f"the {len(names)} classes of the data set are taken for the outputs in their order",))
    return Columns(
        why_not_judged=(
            f"not judged for accuracy: the network has {len(names):,} classes of its own, and none is said to be one "
            f"of {dataset.name}'s {len(dataset.classes)}; --class-map FILE says which"
        )
    )


def read_class_map(file: Path, classes: Sequence[str], names: Sequence[str] | None) -> tuple[int, ...]:
    """The output of each class, from a JSON object: class -> number of its output, or the output's name.

    Raises:
        InputError: the file is no such object, a class is missing, or two classes have one output.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--class-map {file} cannot be read ({error}): give JSON like {_example(classes)}") from error
    if not isinstance(content, Mapping):
        raise InputError(f"--class-map {file} is no JSON object: give one like {_example(classes)}")
    missing = [name for name in classes if name not in content]
    if missing:
        raise InputError(f"--class-map {file} lacks {len(missing)} classes, {', '.join(missing[:SHOWN])} first")
    places = {name: number for number, name in enumerate(names or ())}
    numbers: list[object] = [places.get(content[name], content[name]) for name in classes]
    wrong = [name for name, number in zip(classes, numbers, strict=True) if not _is_output(number)]
    if wrong:
        raise InputError(
            f"--class-map {file}: {wrong[0]} is {json.dumps(content[wrong[0]])}; give the number of an output, from 0"
        )
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--class-map {file} gives one output to two classes: each has its own")
    return tuple(number for number in numbers if isinstance(number, int))


def _is_output(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def check_columns(case: Case, spec: models.ClassifierSpec, dataset: ImageDataset, outputs: int) -> None:
    """Refuse weights of the user's own with more outputs than the data set has classes, unless a class map says which.

    Raises:
        InputError: they have, or the class map names an output that is not there.
    """
    numbers = columns_of(case, spec, dataset).numbers
    if numbers and max(numbers) >= outputs:
        raise InputError(f"the class map names output {max(numbers)}, and '{case.model}' has {outputs} of them")
    if case.option("weights") and spec.pretrained is None and numbers is None and outputs > len(dataset.classes):
        raise InputError(
            f"'{case.model}' has {outputs:,} outputs and data set {dataset.name} {len(dataset.classes)} classes: say "
            f"which output is which class with --class-map FILE, JSON like {_example(dataset.classes)}"
        )


def divergence(outputs: Tensor, reference: Tensor) -> Divergence:
    """KL divergence of the reference's probabilities from those of ``outputs``, both logits (N, classes), in nats.

    Raises:
        ValueError: there are fewer than two samples.
    """
    if len(outputs) < 2:
        raise ValueError("a divergence needs two samples or more for its standard error")
    known = torch.log_softmax(reference.double(), 1)
    found = torch.log_softmax(outputs.double(), 1)
    nats = (known.exp() * (known - found)).sum(1).clamp(min=0)  # below 0 only by rounding
    return Divergence(
        kl_mean=float(nats.mean()),
        kl_standard_error=float(nats.std() / len(nats) ** 0.5),
        kl_p99=float(nats.quantile(0.99)),
        same_top=float((outputs.argmax(1) == reference.argmax(1)).double().mean()),
        samples=len(nats),
    )


def _example(classes: Sequence[str]) -> str:
    return json.dumps({name: 281 + 4 * number for number, name in enumerate(classes[:2])})
