"""Files of trained weights, read into a network. Imports no torch until weights are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError, Unsupported

if TYPE_CHECKING:
    import torch
    from torch import nn

NESTED_IN = ("model_state_dict", "state_dict", "model")
"""Keys under which other programs keep a state dict."""
_SHOWN = 3


def load_weights(path: Path, network: nn.Module) -> None:
    """Put the weights in ``path`` into ``network``: a state dict, or a dict holding one under a usual key.

    Raises:
        InputError: the file is missing, truncated or foreign, or its weights do not fit the network.
    """
    from bench.train.checkpoint import read

    fit(network, _state_dict(read(path), path), str(path))


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


def fit(network: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load ``state`` into ``network``, all of it or nothing.

    Raises:
        InputError: names are missing or unexpected, or shapes differ; the message names the first few.
    """
    own = network.state_dict()
    # A count of batches for a momentum that is not used here; files from before PyTorch 0.4.1 lack it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    differing = [
        f"{key} is {_shape(state[key])} in the file and {_shape(own[key])} in the network"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [
        f"{problem} {_first(names)}"
        for problem, names in (("missing", missing), ("unexpected", unexpected), ("shapes differ:", differing))
        if names
    ]
    if problems:
        raise InputError(f"the weights in {source} do not fit the network: {'; '.join(problems)}")
    network.load_state_dict(dict(state), strict=False)


def _state_dict(content: Any, path: Path) -> Mapping[str, torch.Tensor]:
    candidates: Iterable[Any] = [content]
    if isinstance(content, Mapping):
        candidates = [*(content[key] for key in NESTED_IN if key in content), content]
    for candidate in candidates:
        if _is_state_dict(candidate):
            return _without_prefix(candidate)
    raise InputError(
        f"{path} holds no weights: a state dict is allowed, or a dict with one under {', '.join(NESTED_IN)}; "
        "save model.state_dict()"
    )


def _is_state_dict(candidate: Any) -> bool:
    import torch

    return (
        isinstance(candidate, Mapping)
        and len(candidate) > 0
        and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in candidate.items())
    )


def _without_prefix(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Remove the prefix that DataParallel (``module.``) or torch.compile (``_orig_mod.``) put before every name."""
    for prefix in ("module.", "_orig_mod."):
        if all(key.startswith(prefix) for key in state):
            return {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
