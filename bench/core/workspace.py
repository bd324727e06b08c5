"""Folders of a run, and the channel for the progress of a running case. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.core.turns import Turns

TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Tracker that can draw the curves of trainings -> the package that it needs."""


def _silent(line: str) -> None:
    """Progress that is discarded."""


def _remove(file: Path) -> None:
    """Remove a finished file at once, since no outcome is kept."""
    file.unlink(missing_ok=True)


def sha256_of(file: Path) -> str:
    """SHA-256 of what is in ``file``, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The folders of one run."""

    results: Path
    data_dir: Path
    decoded: Path | None = None
    """The decoded data set in the cache, known once the run has been prepared: no case looks at the source again."""
    artefact: Path | None = None
    """The file of trained weights that this case reads, if it needs one."""
    untrained: str | None = None
    """Reason why there is no such file although the case needs one; None where it needs none."""
    model_folder: Path | None = None
    """The folder that the language model of this case is loaded from."""
    fingerprint: str = ""
    """Hash of code, machine and data: figures and predictions of another one are not this run's."""
    training_code: str = ""
    """Hash of the code that shapes trained weights, as it was when the run began."""
    profile: bool = False
    """True if a case is traced after its timing."""
    track: tuple[str, ...] = ()
    """Trackers that draw the curves of a training while it runs: names in ``TRACKERS``."""
    progress: Callable[[str], None] = _silent
    set_number: int = 0
    """Number of the set that a worker belongs to, from 0: later ones use again what the first one compiled."""
    turns: Turns | None = None
    """Caller of a worker to its turns; None where a case is timed in one stretch."""
    spent: Callable[[Path], None] = _remove
    """Takes a file that is of no use once the outcome of the case is kept: the engine removes it after that."""

    @property
    def artefacts(self) -> Path:
        """Trained weights and the checkpoints of trainings under way."""
        return self.results / "artefacts"

    @property
    def predictions(self) -> Path:
        """Predicted labels, one file for each weights, precision and mode."""
        return self.results / "predictions"

    @property
    def logs(self) -> Path:
        """Standard output and error of each worker."""
        return self.results / "logs"

    @property
    def profiles(self) -> Path:
        """Traces, a folder for each readable name of a case."""
        return self.results / "profiles"

    @property
    def tensorboard(self) -> Path:
        """Curves of trainings, as TensorBoard reads them."""
        return self.results / "tensorboard"

    @property
    def cache(self) -> Path:
        """Decoded data sets, and the files of language models that were made here."""
        return self.data_dir / "cache"
