"""What a case needs that was made before it: trained weights, or the folder of a language model. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.records import Measurement


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The trained weights that a case is to be measured with; no file where it needs none or there are none."""

    artefact: str | None = None
    untrained: str | None = None
    """Why there is no file although the case needs one."""
    fresh: bool = True
    """Whether they were trained in this run, so that no earlier measurement can have used them."""

    def allow(self, adopted: Measurement) -> bool:
        """Whether a measurement of an earlier run stands for one with these weights."""
        return not self.fresh and (self.artefact is None or adopted.artefact == self.artefact)


@dataclass(frozen=True, kw_only=True)
class LanguageFiles:
    """The folder that a language model is loaded from, or why there is none."""

    folder: Path | None = None
    digest: str | None = None
    problem: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the report says of the model."""
