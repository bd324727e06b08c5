"""Specification of a language model: a name, and where its files come from. No torch at import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.factory import ModelError

__all__ = ["LanguageSpec", "Origin", "user_language_model"]

Origin = Literal["package", "random", "hub", "folder"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class LanguageSpec:
    """One causal language model that transformers can load from a folder."""

    name: str
    origin: Origin
    """``package``: a GGUF file that an installed Python package carries; ``random``: made by us from a configuration;
    ``hub``: of the Hugging Face hub; ``folder``: the user's own."""
    location: str = ""
    """Name of the package, hub id, or path of the folder; empty for ``random``."""
    configuration: Mapping[str, object] = field(default_factory=dict)
    """``LlamaConfig`` of a model with random weights."""
    layers: int | None = None
    """Keep only so many of its layers; None is all of them."""
    summary: str
    caveat: str | None = None
    """Warning for every figure of this model; None if it needs none."""

    @property
    def random(self) -> bool:
        """True if its weights are drawn at random: its text then means nothing."""
        return self.origin == "random"


def user_language_model(reference: str) -> LanguageSpec:
    """The model of a folder or of the hub. Only the folder is looked for; the hub is not asked yet.

    Raises:
        ModelError: there is no such folder, or the reference is no hub id.
    """
    path = Path(reference).expanduser()
    if path.is_dir():
        return LanguageSpec(name=reference, origin="folder", location=str(path.resolve()), summary="the user's own")
    if path.is_file():
        raise ModelError(f"language model '{reference}' is a file: give the folder with config.json and *.safetensors")
    if not HUB_ID.fullmatch(reference):
        raise ModelError(f"language model '{reference}': there is no such folder, and a hub id reads OWNER/NAME")
    return LanguageSpec(name=reference, origin="hub", location=reference, summary="of the Hugging Face hub")
