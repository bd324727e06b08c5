"""Checkpoints: one dict a file with the notes' keys. A kill at any moment leaves the last one whole.

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

from bench.core.errors import InputError

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
