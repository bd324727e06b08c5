"""Names of the files of trained weights: a hash of all that shapes a training. Standard library only."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.recipes import Recipe, recipe, recipe_for
from bench.core.records import Case, digest_of, word

ROOT = Path(__file__).resolve().parents[2]
TRAINING_SOURCES = (
    "models",
    "bench/core/artefacts.py",
    "bench/core/recipes.py",
    "bench/train",
    "bench/data",
    "bench/experiments/training.py",
    "bench/experiments/comparisons.py",
)
"""Code that shapes trained weights."""
_TESTING_OPTIONS = {"test_images"}
"""Options of a case that change the evaluation of the weights, not the weights."""


def recipe_of(case: Case) -> Recipe:
    """Return the recipe of a training case, or the one that reproduces its network, with the case's normalisation.

    Raises:
        InputError: the recipe is unknown, or is for another network.
    """
    chosen = recipe(case.recipe) if case.recipe else recipe_for(case.model)
    if chosen.model not in (None, case.model):
        raise InputError(
            f"recipe '{chosen.name}' trains {chosen.model}, not '{case.model}': use it with --models {chosen.model}"
        )
    normalize = case.option("normalize")
    return chosen if normalize is None else dataclasses.replace(chosen, normalize=str(normalize))


def artefact_name(case: Case, data_digest: str, code: str) -> str:
    """File name of the weights of the training ``case``, under ``results/artefacts``.

    The weights are of the chosen epoch (``…-best.pt``) where the recipe chooses one, else of the last (``….pt``).

    Args:
        data_digest: hash of the data set (``ImageDataset.digest``).
        code: ``training_code`` at the start of the run. The code of a network of the user's own is in the options.
    """
    chosen = recipe_of(case)
    shaping = {
        "model": case.model,
        "recipe": _plain(dataclasses.asdict(chosen)),
        "data": data_digest,
        "image_size": case.image_size,
        "experiment": case.experiment,
        "arithmetic": [case.pipeline, case.mode, case.precision],
        "seed": case.seed,
        "budget": case.budget,
        "options": [list(pair) for pair in case.options if pair[0] not in _TESTING_OPTIONS],
        "device": case.device.partition(":")[0],
        "code": code,
    }
    stem = f"{word(case.model)}-{digest_of(shaping)}"
    return f"{stem}-best.pt" if chosen.select == "validation" else f"{stem}.pt"


def training_code() -> str:
    """Hash of the suite's source that affects trained weights."""
    total = hashlib.sha256()
    for path in (path for name in TRAINING_SOURCES for path in _python_files(ROOT / name)):
        name = path.relative_to(ROOT).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def _python_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from sorted(path.rglob("*.py"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
