"""The unconverted network of a case, seen from outside: what it weighs and multiplies, and what its outputs stand for.

It is built once more for this, after all that is timed of loading, so that nothing here enters a figure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import models
from bench.core.errors import InputError
from bench.core.precisions import BASELINE, Precision
from bench.core.records import Case
from bench.data.images import ImageDataset
from bench.measure import products
from bench.precision import weights

RANDOM = (
    "two calls on one batch differ: this network draws random numbers in evaluation (dropout that does not ask for "
    "its mode?), so that predictions of its rows differ by chance, whatever the precision"
)
TOLERANCE = 0.01
"""Share by which the FLOPs counted of a network and those seen in a trace of it may differ."""

SHOWN = 3
COMPILES_ITSELF = "this network compiles itself by torch.compile: its eager rows are not eager"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Facts about a network from running it as it was given."""

    parameters: int
    flops_per_image: int
    flops_doubtful: str | None
    """Reason why the FLOPs cannot be relied on; None where a trace agrees with them."""
    random: bool
    """True if two calls on one batch differ."""
    notes: tuple[str, ...] = ()
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Weight of each layer, by the layer's name."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Layers whose weight is read outside of their own forward, and what reads it."""

    def check(self, converted: nn.Module, precision: Precision) -> None:
        """See that ``converted`` holds this network's weights, rounded, and that nothing reads them as they were.

        Raises:
            WrongConversion: a weight is further off than rounding allows.
            Unsupported: something else than a replaced layer reads its weight.
        """
        if precision.name == BASELINE:
            return
        weights.check_readers(converted, self.elsewhere, precision)
        weights.check_conversion(converted, self.weights, precision)


def look_at(build: Callable[[], nn.Module], image_shape: tuple[int, ...]) -> Reference:
    """Run what ``build`` makes on two images of noise, several times.

    Args:
        build: makes the network with its weights, settled and in evaluation mode; every call makes the same one.
        image_shape: shape of one image, without the batch.
    """
    flops = products.flops_of_network(build, image_shape)
    network = build()
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    compiles = _frames()
    with torch.no_grad():
        first = network(images)
        differ = not _same(first, network(images))
    itself = _frames() > compiles
    notes = ((RANDOM,) if differ else ()) + ((COMPILES_ITSELF,) if itself else ())
    return Reference(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops_per_image=flops.total,
        flops_doubtful=flops.why_doubtful or disagreement(network, image_shape, flops.total),
        random=differ,
        notes=notes,
        weights=weights.computed_with(network, images),
        elsewhere=weights.read_elsewhere(network, images),
    )


def disagreement(network: nn.Module, image_shape: tuple[int, ...], flops: int) -> str | None:
    """Reason why ``flops`` is doubtful: a trace of one black image counts otherwise. None if it agrees."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    image = torch.zeros(1, *image_shape, device=device)
    with torch.no_grad():
        network(image)  # one that compiles itself is traced when that is done
        ran = products.products_of(lambda: network(image), device.type)
    seen = sum(product.flops for product in ran)
    if abs(seen - flops) <= TOLERANCE * flops:
        return None
    return f"counted {flops:,} and seen in a trace {seen:,}: neither can be relied on"


def _same(first: Any, second: Any) -> bool:
    """Alike to rounding: threads may add in another order."""
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return True  # the trial of the network names what it returns
    return torch.allclose(first.float(), second.float(), rtol=1e-3, atol=1e-5, equal_nan=True)


def _frames() -> int:
    counters: Any = torch._dynamo.utils.counters
    return int(counters["frames"]["total"])


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Outputs of a network that a data set's classes are judged by, in the order of the classes."""

    numbers: tuple[int, ...] | None = None
    """None: output i is class i, whatever outputs follow."""
    said: tuple[str, ...] = ()
    why_not_judged: str | None = None
    """Reason why no outputs stand for the classes; None where some do."""

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


def _example(classes: Sequence[str]) -> str:
    return json.dumps({name: 281 + 4 * number for number, name in enumerate(classes[:2])})
