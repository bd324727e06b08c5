"""Files of trained weights, read into a network. Imports no torch until weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import models
from bench.core.errors import InputError, Unsupported

if TYPE_CHECKING:
    import torch
    from torch import nn

_SHOWN = 3


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
    """Path of torchvision's first ImageNet weights of ``model`` among torch's downloads. Nothing is downloaded.

    Raises:
        Unsupported: the file is missing.
    """
    import torch
    import torchvision.models

    url = str(torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        raise Unsupported(
            f"the ImageNet weights of {model} are missing: put {file.name} into {file.parent}, "
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
    # A count of batches for a momentum that is not used here; files from before PyTorch 0.4.1 lack it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shared = [key for key in own if key in state]
    differing = [
        f"{key} is {_shape(state[key])} in the file and {_shape(own[key])} in the network"
        for key in shared
        if state[key].shape != own[key].shape
    ]
    foreign = [
        f"{key} is {_kind(state[key])} in the file and {_kind(own[key])} in the network"
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


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
