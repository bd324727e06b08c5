"""Files of weights as trainers leave them: which part holds the weights, under which prefix, and what was taken.

A state dict is taken that fits the network, name by name. Imports torch when called.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.factory import ModelError, reason

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "_forward_module.")
"""Prefixes that DataParallel, torch.compile, Lightning and usual trainers put before every name."""
AVERAGED = "ema"
"""Part of the key under which trainers keep running means of weights, which they mean to be used."""
COUNTER = "num_batches_tracked"
"""Counts batches for a momentum that nobody here uses; files from before PyTorch 0.4.1 lack it."""
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A state dict under the network's own names, and what had to be done to find it."""

    state: State
    said: tuple[str, ...] = ()
    """Clauses on what was taken, stripped and left out."""


def split_key(given: str) -> tuple[Path, str | None]:
    """File and key of ``FILE`` or ``FILE:KEY``, where KEY names one of the state dicts in the file. ``~`` is home."""
    path = Path(given).expanduser()
    if path.exists() or ":" not in given:
        return path, None
    file, _, key = given.rpartition(":")
    return (Path(file).expanduser(), key) if Path(file).expanduser().exists() else (path, None)


def read_weights(path: Path) -> Any:
    """Content of ``path``, its tensors on the CPU: a file of torch.save, safetensors, or the index of shards of either.

    Raises:
        ModelError: the file is missing, truncated, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: give a file that torch.save wrote")
    if path.name.endswith(".index.json"):
        return _shards(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a torn or foreign file fails in any of torch's, zipfile's and pickle's ways
        objects = _objects_in(path)
        if objects:
            raise ModelError(_unsafe(path, objects)) from error
        raise ModelError(
            f"{path} is truncated or no PyTorch file of tensors and plain values ({reason(error)[:160]}). "
            "Write it again with torch.save(model.state_dict(), …), or remove it"
        ) from error


def find_weights(content: Any, own: State, source: str, key: str | None = None) -> Weights:
    """The state dict in ``content`` that fits a network whose own is ``own``; else the nearest one.

    Where more than one fits, the one of running means (EMA) is taken, as its trainer means it, and said to be.

    Raises:
        ModelError: there is no state dict in ``content``, or none under ``key``.
    """
    found = dict(_state_dicts(content))
    if key is not None:
        if key not in found:
            raise ModelError(f"{source} holds no state dict under '{key}'; it has {_listed(found)}")
        found = {key: found[key]}
    if not found:
        raise ModelError(
            f"{source} holds no weights: a state dict is allowed, or a dict with one under a key of its own "
            "(state_dict, model, weights …); save model.state_dict()"
        )
    named = {name: _named(state, own) for name, state in found.items()}
    fitting = [name for name, weights in named.items() if fits(weights.state, own)]
    if not fitting:
        return max(named.values(), key=lambda weights: len(own.keys() & weights.state.keys()))
    chosen = min(fitting, key=lambda name: AVERAGED not in name.lower())
    said = named[chosen].said
    if chosen:
        said = (f"taken from '{chosen}'", *said)
    rest = [name for name in fitting if name != chosen]
    if rest:
        said = (*said, f"'{rest[0]}' would fit as well: --weights {source}:{rest[0]} takes it")
    return Weights(state=named[chosen].state, said=said)


def fits(state: State, own: State) -> bool:
    """True if the names are the same, except counters of batches."""
    return _countless(state) == _countless(own)


def _named(state: State, own: State) -> Weights:
    """``state`` under the names of ``own``, if stripping or adding prefixes does it, or leaving out what is beside."""
    stripped: list[str] = []
    current = state
    while not fits(current, own):
        prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in current)), None)
        if prefix is None:
            break
        inside = {name.removeprefix(prefix): value for name, value in current.items() if name.startswith(prefix)}
        if len(inside) < len(current) and not fits(inside, own):
            break  # some names alone begin so: it is a part of the network, not a wrapper around it
        beside = [name for name in current if not name.startswith(prefix)]
        stripped.append(prefix + (f" ({_first(beside)} left out)" if beside else ""))
        current = inside
    if fits(current, own):
        return Weights(state=current, said=(f"stripped {', '.join(stripped)}",) if stripped else ())
    for prefix in PREFIXES:  # the network was wrapped after its weights were saved
        longer = {prefix + name: value for name, value in state.items()}
        if fits(longer, own):
            return Weights(state=longer, said=(f"put {prefix} before each name",))
    return Weights(state=current)


def _state_dicts(content: Any) -> Iterator[tuple[str, State]]:
    """State dicts in ``content`` by their key; the whole of it has an empty one."""
    if _is_state_dict(content):
        yield "", content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(key, str) and _is_state_dict(value):
                yield key, value


def _is_state_dict(candidate: Any) -> bool:
    import torch

    return (
        isinstance(candidate, Mapping)
        and len(candidate) > 0
        and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in candidate.items())
    )


def _shards(index: Path) -> dict[str, Any]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} cannot be used ({reason(error)}): copy it again") from error
    whole: dict[str, Any] = {}
    for name in names:
        whole |= read_weights(index.parent / name)
    return whole


def _objects_in(path: Path) -> list[str]:
    """Classes that a file of torch.save would have Python make, besides tensors; read without making any."""
    import torch

    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # no file of torch.save's present format
        return []


def _unsafe(path: Path, objects: Collection[str]) -> str:
    whole = any(name.startswith("torch.nn.modules.") for name in objects)
    weights = "content.state_dict()" if whole else 'content["model"]'
    hint = "" if whole else "  # or under the key that holds the state dict"
    return (
        f"{path} holds {_first(sorted(objects))} beside its tensors: to read that, torch.load needs "
        "weights_only=False, which runs whatever code the file brings. If you trust it, write its weights alone: "
        f'content = torch.load("{path}", weights_only=False); torch.save({weights}, "{path.stem}-weights.pth"){hint}'
    )


def _countless(state: State) -> set[str]:
    return {name for name in state if not name.endswith(COUNTER)}


def _listed(found: Mapping[str, State]) -> str:
    return ", ".join(name or "the file itself" for name in found) or "none"


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
