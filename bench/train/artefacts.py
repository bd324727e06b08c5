"""Trained weights as files: what they are called, and how a file of weights gets into a network.

Imports no torch until weights are read: names are worked out where there is none.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from bench.core.errors import InputError, Unsupported
from bench.core.recipes import Recipe, recipe, recipe_for
from bench.core.records import Case, digest_of, word

if TYPE_CHECKING:
    import torch
    from torch import nn

ROOT = Path(__file__).resolve().parents[2]
TRAINING_SOURCES = (
    "models",
    "bench/core/recipes.py",
    "bench/train",
    "bench/data",
    "bench/experiments/training.py",
    "bench/experiments/comparisons.py",
)
_SHOWN = 3
_TESTING_OPTIONS = {"test_images"}
"""Options of a case that change how the weights are judged, not the weights."""


def recipe_of(case: Case) -> Recipe:
    """The recipe that a training case names, or the one that reproduces its network, with the case's normalisation.

    Raises:
        InputError: there is no such recipe, or it is for another network.
    """
    chosen = recipe(case.recipe) if case.recipe else recipe_for(case.model)
    if chosen.model not in (None, case.model):
        raise InputError(f"recipe '{chosen.name}' trains {chosen.model}, not '{case.model}': name it with that network")
    normalize = case.option("normalize")
    return chosen if normalize is None else dataclasses.replace(chosen, normalize=str(normalize))


def artefact_name(case: Case, data_digest: str, code: str) -> str:
    """File name of the weights that the training ``case`` gives, under ``results/artefacts``.

    Those of the counted epoch: the chosen one (``…-best.pt``) where the recipe chooses, else the last (``….pt``).

    Args:
        data_digest: content of the data set (``ImageDataset.digest``).
        code: ``training_code`` as it was when the run began. The code of a network of the user's own is in the options.
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
    """Hash of our source that shapes trained weights."""
    total = hashlib.sha256()
    for path in (path for name in TRAINING_SOURCES for path in _python_files(ROOT / name)):
        name = path.relative_to(ROOT).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def load_weights(given: Path | str, network: nn.Module) -> tuple[str, ...]:
    """Put the weights of ``FILE`` or ``FILE:KEY`` into ``network``: see ``models.checkpoints`` for what is taken.

    Returns:
        What had to be done to find them, a clause each: which key, which prefix, which of two that fit.

    Raises:
        InputError: the file is missing, truncated or foreign, or its weights do not fit the network.
    """
    file, key = models.split_key(str(given))
    try:
        content = models.read_weights(file)
        found = models.find_weights(content, network.state_dict(), str(file), key)
    except models.ModelError as error:
        raise InputError(str(error)) from error
    return (*found.said, *fit(network, found.state, str(file)))


def imagenet_file(model: str) -> Path:
    """torchvision's first ImageNet weights of ``model``, where torch keeps what it downloaded. Nothing is downloaded.

    Raises:
        Unsupported: the file is not there.
    """
    import torch
    import torchvision.models

    url = str(torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        raise Unsupported(
            f"the ImageNet weights of {model} are not there: put {file.name} into {file.parent}, "
            "or name its folder with --imagenet-weights"
        )
    return file


def fit(network: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> tuple[str, ...]:
    """Load ``state`` into ``network``, all of it or nothing.

    Returns:
        What is changed by that: numbers of fewer bits are expanded.

    Raises:
        InputError: names are missing or unexpected, shapes differ, or the numbers are of a kind that the network would
            take something else for; the message names the first few.
    """
    own = network.state_dict()
    # Counts batches for a momentum that nobody here uses; files from before PyTorch 0.4.1 lack it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shared = [key for key in own if key in state]
    differing = [
        f"{key} is {_shape(state[key])} there and {_shape(own[key])} here"
        for key in shared
        if state[key].shape != own[key].shape
    ]
    foreign = [
        f"{key} is {_kind(state[key])} there and {_kind(own[key])} here"
        for key in shared
        if own[key].is_floating_point() and not state[key].is_floating_point()
    ]
    broken = [key for key in shared if state[key].is_floating_point() and bool(state[key].isnan().any())]
    problems = [
        f"{what} {_first(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("shapes differ:", differing),
            ("kinds of numbers differ:", foreign),
            ("not a number in", broken),
        )
        if names
    ]
    if problems:
        raise InputError(f"the weights in {source} do not fit the network: {'; '.join(problems)}")
    network.load_state_dict(dict(state), strict=False)
    narrow = {_kind(state[key]) for key in shared if state[key].is_floating_point() and _narrower(state[key], own[key])}
    return (f"weights were stored in {', '.join(sorted(narrow))} and are expanded",) if narrow else ()


def _narrower(stored: torch.Tensor, own: torch.Tensor) -> bool:
    return stored.element_size() < own.element_size()


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _python_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from sorted(path.rglob("*.py"))


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
