"""Specification of a classifier: where it is built, for which images, with how many outputs. No torch at import."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models import pretrained as published
from models.factory import ModelError, build, is_file, module_file, parse
from models.pretrained import Pretrained

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ClassifierSpec", "Group", "ModelError", "user_classifier"]

Group = Literal["notes", "torchvision", "pretrained", "user"]


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """One image classifier, as data. Its network takes float32 ``(N, 3, image_size, image_size)``."""

    name: str
    factory: str
    """``module:callable`` or ``/path/to/file.py:callable``; called with the number of outputs if it asks for that."""
    group: Group
    notes: tuple[int, ...] = ()
    """Numbers of the study notes that use it."""
    image_size: int = 32
    """Side, in pixels, of the images that it is run on."""
    minimum_size: int
    """Smallest side that passes through it in evaluation."""
    maximum_size: int | None = None
    """Largest side that passes; None where the last pooling adapts to any."""
    head: int | None = None
    """Number of outputs where that is fixed; None: as many as the data set has classes."""
    published_parameters: int | None = None
    """Number of parameters that a note publishes (10 classes)."""
    pretrained: Pretrained | None = None
    """Weights that it comes with. None: it is trained here, or timed as it is built."""
    summary: str

    @property
    def source(self) -> Path | None:
        """The user's own file: who keeps something of this network (weights, timings) ties it to the file's content.

        None for our own networks, and for a module that is no Python file.
        """
        if self.group != "user" or published.is_pretrained(self.name):
            return None
        target, _ = parse(self.factory)
        return Path(target) if is_file(target) else module_file(target)

    def outputs(self, classes: int) -> int:
        """Number of outputs for a data set of ``classes`` classes: the fixed head's, else ``classes``.

        Raises:
            ModelError: there is no class, or the fixed head is too small for them.
        """
        if classes < 1:
            raise ModelError(f"{self.name} cannot tell {classes} classes apart: give 1 or more")
        if self.head is not None and classes > self.head:
            raise ModelError(f"{self.name} has a fixed head of {self.head} outputs, too few for {classes} classes")
        return self.head or classes

    def at(self, image_size: int) -> ClassifierSpec:
        """The same network for images of another side, in pixels.

        Raises:
            ModelError: images of that side do not pass through it.
        """
        if image_size < self.minimum_size or (self.maximum_size and image_size > self.maximum_size):
            upper = f"to {self.maximum_size}" if self.maximum_size else "pixels or more"
            raise ModelError(f"{self.name} takes images of {self.minimum_size} {upper} a side, not {image_size}")
        return dataclasses.replace(self, image_size=image_size)

    def build(self, classes: int = 10) -> nn.Module:
        """A new network in training mode, mapping ``(N, 3, H, W)`` to logits ``(N, outputs(classes))``.

        Where it comes with weights it has them; else they are drawn from torch's global generator: seed that first.

        Raises:
            ModelError: the factory cannot be imported, raises, or returns something else than an ``nn.Module``; or
                the weights that it comes with are not at hand.
        """
        if self.pretrained:
            return published.loaded(self.pretrained, lambda: self.untrained(classes))
        return self.untrained(classes)

    def untrained(self, classes: int = 10) -> nn.Module:
        """The network as it is built, without the weights that it may come with: for weights of another file.

        Raises:
            ModelError: the factory cannot be imported, raises, or returns something else than an ``nn.Module``.
        """
        if published.is_pretrained(self.name):
            return published.untrained(self.name)
        return build(self.factory, self.outputs(classes), name=self.name)

    def with_weights(self, weights: str | None) -> ClassifierSpec:
        """The same network with what ``--weights`` names: torchvision's own (``DEFAULT``), or a file that replaces any.

        Raises:
            ModelError: torchvision has no such weights, or its network none by name.
        """
        if weights is None:
            return self
        name = self.factory.rpartition(":")[2]
        if not published.published(name, self.factory, weights):
            return dataclasses.replace(self, pretrained=None)
        return dataclasses.replace(self, pretrained=published.described(f"torchvision:{name}:{weights}"))


def user_classifier(reference: str, image_size: int = 32) -> ClassifierSpec:
    """The user's own network: ``FILE.py:callable`` or ``package.module:callable``. Nothing is imported yet.

    Raises:
        ModelError: the reference is malformed, its file or top-level package is not there, or the side is below 1.
    """
    target, name = parse(reference)
    if is_file(target):
        target = str(Path(target).expanduser().resolve())
    spec = ClassifierSpec(
        name=reference,
        factory=f"{target}:{name}",
        group="user",
        minimum_size=1,
        summary=f"{name} of {target}",
    )
    return spec.at(image_size)


def pretrained_classifier(reference: str, image_size: int | None = None) -> ClassifierSpec:
    """A network of ``timm:NAME`` or ``hf:ID_OR_FOLDER`` with its weights; its image size is its own if not given.

    Raises:
        ModelError: the library is not installed, knows no such network, or its files are not at hand.
    """
    found = published.described(reference)
    classes = found.classes
    spec = ClassifierSpec(
        name=reference,
        factory=reference,
        group="pretrained",
        minimum_size=1,
        head=len(classes) if classes is not None else 1000,
        pretrained=found,
        summary=f"{found.location}, with its weights",
    )
    return spec.at(image_size or found.image_size)
