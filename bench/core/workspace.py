"""Folders of a run, names of its files of trained weights, and the channel for progress. Standard library only.

A name of weights has a hash of all that shapes their training.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError
from bench.core.recipes import Recipe, recipe, recipe_for
from bench.core.records import Case, digest_of, word

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


ROOT = Path(__file__).resolve().parents[2]
TRAINING_SOURCES = (
    "models",
    "bench/core/workspace.py",
    "bench/core/recipes.py",
    "bench/train",
    "bench/data",
    "bench/experiments/training.py",
    "bench/experiments/comparisons.py",
)
"""Code that shapes trained weights."""
_TESTING_OPTIONS = {"test_images"}
"""Options of a case that change the evaluation of the weights, not the weights."""


def recipe_of(case: Case) -> Recipe:
    """Return the recipe of a training case, or the one that reproduces its network, with the case's normalisation.

    Raises:
        InputError: the recipe is unknown, or is for another network.
    """
    chosen = recipe(case.recipe) if case.recipe else recipe_for(case.model)
    if chosen.model not in (None, case.model):
        raise InputError(
            f"recipe '{chosen.name}' trains {chosen.model}, not '{case.model}': use it with --models {chosen.model}"
        )
    normalize = case.option("normalize")
    return chosen if normalize is None else dataclasses.replace(chosen, normalize=str(normalize))


def artefact_name(case: Case, data_digest: str, code: str) -> str:
    """File name of the weights of the training ``case``, under ``results/artefacts``.

    The weights are of the chosen epoch (``…-best.pt``) where the recipe chooses one, else of the last (``….pt``).

    Args:
        data_digest: hash of the data set (``ImageDataset.digest``).
        code: ``training_code`` at the start of the run. The code of a network of the user's own is in the options.
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
    """Hash of the suite's source that affects trained weights."""
    total = hashlib.sha256()
    for path in (path for name in TRAINING_SOURCES for path in _python_files(ROOT / name)):
        name = path.relative_to(ROOT).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def _python_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from sorted(path.rglob("*.py"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
