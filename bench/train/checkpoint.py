"""Files of a training: its checkpoints, and weights read into a network.

A checkpoint is one dict a file with the notes' keys. A kill at any moment leaves the last one whole.

A resumed training has the same bits: all randomness of an epoch is derived from the seed and the epoch, so no state of
a random generator is stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import models
from bench.core.errors import InputError, Unsupported

Identity = Mapping[str, str | int]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Training after ``epoch`` whole epochs. ``loss`` is that of the last mini-batch, as in the notes."""

    epoch: int
    model_state_dict: Mapping[str, torch.Tensor]
    averaged_state_dict: Mapping[str, torch.Tensor]
    """Running mean of the weights; empty where the recipe has none."""
    optimizer_state_dict: Mapping[str, Any]
    scheduler_state_dict: Mapping[str, Any]
    loss: float
    history: Mapping[str, list[float]]
    """Losses, accuracies and seconds, one number an epoch."""
    identity: Identity
    """Identity of the training: a checkpoint of another one is refused."""


FIELDS: dict[str, type] = {
    "epoch": int,
    "model_state_dict": dict,
    "averaged_state_dict": dict,
    "optimizer_state_dict": dict,
    "scheduler_state_dict": dict,
    "loss": float,
    "history": dict,
    "identity": dict,
}


def best_path(path: Path) -> Path:
    """Path of the chosen epoch's weights, in the folder of the last epoch's at ``path``."""
    return path.with_name(f"{path.stem}-best{path.suffix}")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path``, whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save raises its own error while it handles the disk's
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        with suppress(OSError):
            beside.unlink(missing_ok=True)  # a partial file would keep a full disk full
        raise InputError(
            f"cannot write {path}: {cause.strerror or cause}; make its folder writable, or free space in it"
        ) from error


def read(path: Path) -> Any:
    """Read the content of ``path``, its tensors on the CPU; only tensors and plain values are accepted.

    Raises:
        InputError: the file is missing, truncated, or holds anything else.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: give a file that torch.save wrote")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a truncated or foreign file raises any error of torch, zipfile or pickle
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}"
        raise InputError(
            f"{path} is truncated or no PyTorch file of tensors and plain values ({reason.rstrip(': ')}): "
            "write it again with torch.save(model.state_dict(), …), or remove it"
        ) from error


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path`` as a plain dict, whole or not at all."""
    content = {name: getattr(checkpoint, name) for name in FIELDS}
    write(path, {name: dict(value) if isinstance(value, Mapping) else value for name, value in content.items()})


def load(path: Path, identity: Identity) -> Checkpoint:
    """Read the checkpoint in ``path``.

    Raises:
        InputError: the file is truncated or foreign, or is of another training than ``identity``.
    """
    content = read(path)
    fields = content if isinstance(content, dict) else {}
    lacking = [name for name, kind in FIELDS.items() if not isinstance(fields.get(name), kind)]
    if lacking:
        raise InputError(f"{path} is no checkpoint of a training, it lacks {', '.join(lacking)}: remove it")
    stored = content["identity"]
    differing = [key for key in sorted({*identity, *stored}) if identity.get(key) != stored.get(key)]
    if differing:
        kept = ", ".join(f"{key} {stored.get(key)}" for key in differing)
        wanted = ", ".join(f"{key} {identity.get(key)}" for key in differing)
        raise InputError(f"{path} is a checkpoint of {kept}, not of {wanted}: remove it, or move it away")
    return Checkpoint(**{name: content[name] for name in FIELDS})


def _sync_folder(folder: Path) -> None:
    """Write the new name to the disk too, where a folder can be opened (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
