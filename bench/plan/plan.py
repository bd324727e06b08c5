"""What one run measures, and the cases that follow from it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import models
from bench.core.budgets import FEATURE_SIDE, Budget, Language, Layers, Rows
from bench.core.precisions import BASELINE, PRECISIONS
from bench.core.recipes import HELD_OUT, RECIPES, recipe_for
from bench.core.records import Case, Scalar
from bench.core.turns import TWIN
from bench.core.workspace import sha256_of
from bench.plan.training_cases import TRAININGS, arithmetic_options, largest_compared, usual_arithmetic

NO_DATA = "random"
"""Stands for a data set where numbers are drawn."""


@dataclass(frozen=True, kw_only=True)
class UserNetwork:
    """What the user says of networks of their own: empty for ours."""

    weights: Path | None = None
    weights_digest: str | None = None
    """First 16 hexadecimal digits of the SHA-256 of the file: other contents are another case."""
    classes: int | None = None
    image_size: int | None = None
    normalize: str | None = None
    """Three means, a slash, three standard deviations, as given: ``0.5,0.5,0.5/0.5,0.5,0.5``."""

    @property
    def options(self) -> dict[str, Scalar]:
        """As options of a case."""
        weights = str(self.weights) if self.weights else None
        given = {
            "classes": self.classes,
            "normalize": self.normalize,
            "weights": weights,
            "weights_digest": self.weights_digest,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """The text that prompts and perplexity are taken from."""

    name: str
    digest: str
    characters: int
    file: Path | None = None
    """Where it is, for a file of the user's own."""


@dataclass(frozen=True, kw_only=True)
class ImageNetWeights:
    """A file of ImageNet's weights that was given, and the digest of its contents."""

    file: Path
    digest: str

    @property
    def options(self) -> dict[str, Scalar]:
        """As options of a case."""
        return {"imagenet_weights": str(self.file), "imagenet_digest": self.digest}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run, decided."""

    device: str
    dataset: str
    data_dir: Path
    budget: Budget
    trained: tuple[str, ...]
    untrained: tuple[str, ...]
    rows: tuple[Rows, ...]
    layers: Layers | None
    """The single layers to time; None where networks were named, which are then all there is."""
    language: Language | None
    """What is measured of language models; None where classifiers were named, which are then all there is."""
    text: PromptText
    seeds: tuple[int, ...]
    seeds_asked: bool = False
    """Whether the command line names them: comparisons of trainings have seeds of their own otherwise."""
    repeats: int
    """Fresh processes of each case that is timed on its own."""
    sets: int
    """Sets of fresh processes of the routes that take turns."""
    threads: int
    user: UserNetwork
    model_digests: Mapping[str, str] = field(default_factory=dict)
    """Hash of the files of each language model, once they were fetched: other weights are another case."""
    imagenet: Mapping[str, ImageNetWeights] = field(default_factory=dict)
    """Of each network whose file was given; the others' are where torch keeps its downloads, or nowhere."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Hash of all files of each network of the user's own, once it was tried: other code is another case."""
    sampling: tuple[tuple[str, Scalar], ...] = ()
    """Changes to the budget's stopping rule that were asked for on the command line."""
    train_images: int | None = None
    """Images that each training sees, in place of the budget's number."""
    test_images: int | None = None
    """Images that judge accuracy, however long that takes, in place of what the budget allows."""
    case_timeout: float | None = None
    track: tuple[str, ...] = ()
    """Who draws the curves of trainings: names in ``bench.train.tracking.TRACKERS``."""

    @property
    def models(self) -> tuple[str, ...]:
        """Every classifier of the run, trained ones first."""
        return self.trained + self.untrained

    def image_size(self, model: str) -> int:
        """Side of the images that ``model`` is given, in pixels."""
        return self.user.image_size or models.classifier(model).image_size

    def image_sizes(self, model: str) -> tuple[int, ...]:
        """Image sides at which ``model`` is timed: its own, and the large ones of the budget for torchvision's."""
        own = self.image_size(model)
        if self.user.image_size or models.classifier(model).group != "torchvision":
            return (own,)
        return (own, *(size for size in self.budget.large_image_sizes if size != own))

    def rows_of(self, model: str) -> list[tuple[str, int, str]]:
        """Mode, batch size and precision of each row of ``model``, each once: what is compared runs one after another.

        That is every mode and precision of one batch size, each mode's precisions together. Of batch sizes the largest
        comes first, since its predictions serve the others.
        """
        of_model = [rows for rows in self.rows if rows.models is None or model in rows.models]
        found = {
            (mode, size, precision): None
            for rows in of_model
            for mode in rows.modes
            for size in rows.batch_sizes
            for precision in rows.precisions
            if PRECISIONS[precision].convert
        }
        modes = list(dict.fromkeys(mode for mode, _, _ in found))
        return sorted(found, key=lambda row: (-row[1], modes.index(row[0])))

    def has_twin(self, model: str, mode: str, precision: str) -> bool:
        """Whether a row of ``model`` at its own size is the reference, and has a twin that shows the noise."""
        return model in self.budget.twins and (mode, precision) == ("eager", BASELINE)

    def recipes(self, model: str) -> tuple[str, ...]:
        """The recipes that train ``model``: the one that reproduces, and its held-out twin where the budget has it."""
        name = self.budget.recipes.get(model, recipe_for(model).name)
        return (name, name + HELD_OUT) if model in self.budget.held_out else (name,)

    def training(self, model: str, *, recipe: str, seed: int) -> Case:
        """The case that trains ``model``; its artefact is what inference reads. Its repeats are its seeds."""
        images = self.train_images or self.budget.train_images_by_model.get(model, self.budget.train_images)
        epochs = self.budget.epochs
        given: dict[str, Scalar] = {
            "train_images": images,
            "epoch_images": -(-images // epochs) if images and epochs else None,
            "test_images": self.test_images or self.budget.test_images,
            "classes": self.user.classes,
            "normalize": self.user.normalize,
        }
        arithmetic = usual_arithmetic(model)
        given |= arithmetic_options(arithmetic)
        return self._case(
            experiment="training",
            model=model,
            recipe=recipe,
            pipeline=arithmetic.pipeline,
            batch_size=RECIPES[recipe].batch_size,
            seed=seed,
            options={name: value for name, value in given.items() if value is not None},
        )

    def inference(
        self,
        model: str,
        *,
        image_size: int,
        mode: str,
        batch_size: int,
        precision: str,
        repeat: int = 0,
        twin: int = 0,
    ) -> Case:
        """The case that times ``model`` and, where its weights were trained, judges it."""
        judging = {
            "test_images": self.test_images or self.budget.test_images,
            "judging_seconds": None if self.test_images else self.budget.judging_seconds,
        }
        options = {**dict(self.sampling), **self.user.options, **({TWIN: True} if twin else {})}
        options |= {name: value for name, value in judging.items() if value is not None}
        return self._case(
            experiment="inference",
            model=model,
            image_size=image_size,
            recipe=None if self.user.weights else self.recipes(model)[0],
            precision=precision,
            mode=mode,
            batch_size=batch_size,
            repeat=repeat,
            options=options,
        )

    def layer(self, kind: str, *, width: int, mode: str, batch_size: int, precision: str, repeat: int = 0) -> Case:
        """The case that times one layer."""
        return Case(
            experiment="layers",
            model=kind,
            dataset=self.dataset,
            image_size=1 if kind == "linear" else FEATURE_SIDE,
            device=self.device,
            threads=self.threads,
            budget=self.budget.name,
            precision=precision,
            mode=mode,
            batch_size=batch_size,
            repeat=repeat,
            options=tuple(sorted({**dict(self.sampling), "width": width}.items())),
        )

    def ceilings(self) -> Case:
        """The case that measures what the hardware could do."""
        return self._of_machine("ceilings", model="hardware", image_size=0)

    def noise(self, model: str, *, batch_size: int, side: str, repeat: int) -> Case:
        """One of the processes that measure the same, named ``side``."""
        return self._of_machine(
            "noise",
            model=model,
            image_size=models.classifier(model).image_size,
            batch_size=batch_size,
            repeat=repeat,
            options=tuple(sorted({**dict(self.sampling), "side": side}.items())),
        )

    def _of_machine(self, experiment: str, **fields: Any) -> Case:
        """A case about the machine: no data set enters it."""
        return Case(
            experiment=experiment,
            dataset=NO_DATA,
            device=self.device,
            threads=self.threads,
            budget=self.budget.name,
            **fields,
        )

    def largest_case(self) -> Case:
        """A case with the largest images: the data set is decoded at that size, which serves the smaller ones."""
        sides = {max(self.image_sizes(model)): model for model in self.models}
        return self._first_case(sides[max(sides)], max(*sides, largest_compared(self)))

    def user_cases(self) -> list[Case]:
        """One case for each network that is the user's own, or has the user's weights."""
        return [self._first_case(model) for model in self.models if ":" in model or self.user.options]

    def _first_case(self, model: str, size: int | None = None) -> Case:
        return self.inference(
            model, image_size=size or self.image_size(model), precision="fp32", mode="eager", batch_size=2, repeat=0
        )

    def needed_training(self, model: str) -> Case | None:
        """The training whose weights ``model`` is judged with; None where the weights are given or there are none."""
        if self.user.weights or model not in self.trained:
            return None
        return self.training(model, recipe=self.recipes(model)[0], seed=self.seeds[0])

    def time_limit(self, case: Case) -> float:
        """Seconds after which ``case`` is ended."""
        if self.case_timeout is not None:
            return self.case_timeout
        return self.budget.training_timeout if case.experiment in TRAININGS else self.budget.case_timeout

    def _case(self, *, model: str, options: dict[str, Scalar], image_size: int | None = None, **fields: Any) -> Case:
        source = models.classifier(model).source
        if source:
            options["source"] = self.sources.get(model) or file_digest(source)
        return Case(
            model=model,
            dataset=self.dataset,
            image_size=image_size or self.image_size(model),
            device=self.device,
            threads=self.threads,
            budget=self.budget.name,
            options=tuple(sorted(options.items())),
            **fields,
        )


def file_digest(file: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a file."""
    return sha256_of(file)[:16]
