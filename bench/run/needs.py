"""What a case needs that was made before it: trained weights, or the folder of a language model. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.records import Measurement
from bench.core.workspace import sha256_of


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The trained weights that a case is to be measured with; no file where it needs none or there are none."""

    artefact: str | None = None
    sha256: str | None = None
    """Of the file ``artefact``: its name tells how they were trained, not what came of it."""
    untrained: str | None = None
    """Why there is no file although the case needs one."""
    fresh: bool = True
    """Whether they were trained in this run, so that no earlier measurement can have used them."""

    def allow(self, adopted: Measurement) -> bool:
        """Whether a measurement of an earlier run stands for one with these weights."""
        return not self.fresh and (self.artefact is None or adopted.weights_sha256 == self.sha256)


class Artefacts:
    """The files of trained weights in a folder: what is in each, read once for as long as it stays as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[str, int, int], str] = {}

    def sha256(self, name: str) -> str | None:
        """Digest of the file ``name``; None if it is not there."""
        file = self.folder / name
        try:
            found = file.stat()
            seen = (name, found.st_mtime_ns, found.st_size)
            if seen not in self._known:
                self._known[seen] = sha256_of(file)
        except OSError:
            return None
        return self._known[seen]

    def holds(self, measurement: Measurement) -> bool:
        """Whether the file that a measurement speaks of is there and as it was then."""
        if measurement.artefact is None:
            return True
        found = self.sha256(measurement.artefact)
        return found is not None and found == measurement.weights_sha256


@dataclass(frozen=True, kw_only=True)
class LanguageFiles:
    """The folder that a language model is loaded from, or why there is none."""

    folder: Path | None = None
    digest: str | None = None
    problem: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the report says of the model."""
