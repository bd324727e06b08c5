"""A run, decided: plain data, and the one maker of cases from it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models
from bench.core.amounts import Budget, Language, Layers, Rows
from bench.core.experiments import EXPERIMENTS, TRAININGS
from bench.core.precisions import MIXED
from bench.core.quality import Margins
from bench.core.recipes import HELD_OUT, recipe_for
from bench.core.records import Case, Scalar
from bench.core.workspace import sha256_of


@dataclass(frozen=True, kw_only=True)
class UserNetwork:
    """Facts that the user gives about a network of their own; empty for ours."""

    weights: str | None = None
    """``FILE``, ``FILE:KEY``, or the name of torchvision's own weights."""
    weights_digest: str | None = None
    """First 16 hexadecimal digits of the SHA-256 of the file: other contents are another case."""
    classes: int | None = None
    image_size: int | None = None
    class_map: Path | None = None
    """JSON of the output that each class of the data set is."""
    normalize: str | None = None
    """Three means, a slash, three standard deviations, as given: ``0.5,0.5,0.5/0.5,0.5,0.5``."""

    @property
    def options(self) -> dict[str, Scalar]:
        """Its fields as options of a case."""
        named = {
            "classes": self.classes,
            "normalize": self.normalize,
            "weights": self.weights,
            "weights_digest": self.weights_digest,
            "class_map": str(self.class_map) if self.class_map else None,
            "class_map_digest": file_digest(self.class_map) if self.class_map else None,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """The text that prompts and perplexity are taken from."""

    name: str
    digest: str
    characters: int
    file: Path | None = None
    """Path of a file of the user's own; None for a text of ours."""


@dataclass(frozen=True, kw_only=True)
class ImageNetWeights:
    """A file of ImageNet's weights, and the digest of its contents."""

    file: Path
    digest: str

    @property
    def options(self) -> dict[str, Scalar]:
        """Its fields as options of a case."""
        return {"imagenet_weights": str(self.file), "imagenet_digest": self.digest}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run, decided."""

    device: str
    dataset: str
    data_dir: Path
    budget: Budget
    trained: tuple[str, ...]
    """Classifiers that the run trains."""
    untrained: tuple[str, ...]
    """Classifiers that are timed with weights that are given, or as they are built."""
    rows: tuple[Rows, ...]
    layers: Layers | None
    """The single layers to time; None where networks were named, which are then all there is."""
    language: Language | None
    """Rows of language models; None where classifiers were named, which are then all there is."""
    text: PromptText
    seeds: tuple[int, ...]
    seeds_asked: bool = False
    """True if the command line names seeds; otherwise comparisons of trainings have seeds of their own."""
    repeats: int
    """Fresh processes of each case that is timed on its own."""
    sets: int
    """Sets of fresh processes of the routes that take turns."""
    threads: int
    user: UserNetwork
    model_digests: Mapping[str, str] = field(default_factory=dict)
    """Hash of the files of each language model, once fetched: other weights are another case."""
    imagenet: Mapping[str, ImageNetWeights] = field(default_factory=dict)
    """File of each network for which one was given; the others' are where torch keeps its downloads, or nowhere."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Hash of all files of each network of the user's own, once tried: other code is another case."""
    sampling: tuple[tuple[str, Scalar], ...] = ()
    """Changes to the budget's stopping rule from the command line."""
    train_images: int | None = None
    """Images that each training sees, in place of the budget's number; 0 where nothing is trained."""
    test_images: int | None = None
    """Images that judge accuracy, however long that takes, in place of what the budget allows."""
    sweeps: bool = False
    """True if batch sizes are doubled until no route gains any more."""
    max_drop: float = Margins().accuracy
    """Accuracy on held-out images that mixed precision may lose, from 0 to 1."""
    case_timeout: float | None = None
    minutes: float | None = None
    """Minutes after which the run ends; None is no limit."""
    track: tuple[str, ...] = ()
    """Trackers that draw the curves of trainings: names in ``bench.core.workspace.TRACKERS``."""

    @property
    def models(self) -> tuple[str, ...]:
        """Every classifier of the run, trained ones first."""
        return self.trained + self.untrained

    def image_size(self, model: str) -> int:
        """Side of the images that ``model`` is given, in pixels."""
        return self.user.image_size or models.classifier(model, weights=self.user.weights).image_size


def file_digest(file: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a file."""
    return sha256_of(file)[:16]


Requested = tuple[Case, Case | None]
"""A case that a test asks for, and the training whose weights it reads."""
SEARCHES = 5
"""Time limit of a case of mixed precision over that of others: it quantises once for each layer."""
NO_DATA = "random"
"""Stands for a data set where numbers are drawn."""


def make_case(
    plan: Plan,
    experiment: str,
    *,
    model: str,
    image_size: int,
    dataset: str | None = None,
    options: Mapping[str, Scalar] | None = None,
    **fields: Any,
) -> Case:
    """A case of ``plan``. Options that are None are left out; a network of the user's own brings its code's hash.

    Args:
        dataset: name of the data; the plan's by default.
        fields: further fields of ``Case``, by name.

    Raises:
        KeyError: there is no such experiment.
    """
    source = models.classifier(model).source if model in plan.models else None
    digest = {"source": plan.sources.get(model) or file_digest(source)} if source else {}
    named = {**(options or {}), **digest}
    return Case(
        experiment=EXPERIMENTS[experiment].name,
        model=model,
        dataset=plan.dataset if dataset is None else dataset,
        image_size=image_size,
        device=plan.device,
        threads=plan.threads,
        budget=plan.budget.name,
        options=tuple(sorted((name, value) for name, value in named.items() if value is not None)),
        **fields,
    )


def recipes_of(plan: Plan, model: str) -> tuple[str, ...]:
    """The recipes that train ``model``: the one that reproduces, and its held-out twin where the budget has it."""
    name = plan.budget.recipes.get(model, recipe_for(model).name)
    return (name, name + HELD_OUT) if model in plan.budget.held_out else (name,)


def time_limit(plan: Plan, case: Case) -> float:
    """Seconds after which ``case`` is ended."""
    if plan.case_timeout is not None:
        return plan.case_timeout
    if case.precision == MIXED:
        return SEARCHES * plan.budget.case_timeout
    return plan.budget.training_timeout if case.experiment in TRAININGS else plan.budget.case_timeout
