"""Outputs of the reference route on the tokens of perplexity, and the distance of other routes from them."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from bench.core.precisions import BASELINE
from bench.core.records import Case, Divergence, Figure, digest_of, word
from bench.core.runtimes import REFERENCE
from bench.core.workspace import Workspace
from bench.experiments.language.routes import LanguageRoute, Scored, route_of
from bench.experiments.language.subject import folder_of
from bench.measure.quality import Window, first_windows, summarized
from bench.runtimes.language_route import Logits

LAYOUT = 1
"""Counts up when the file or what is in it changes: an older one is then made anew."""
MOST_TOKENS = 2048
"""First scored tokens of the text that routes are compared on."""
MOST_BYTES = 2**29
"""Fewer tokens are compared where the logits of so many would take more."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A text to score for a case."""

    case: Case
    ids: tuple[int, ...]
    places: tuple[Window, ...]
    before: tuple[int, ...]
    """Tokens in front of each window, unscored."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Distance of a route from the reference route on the same tokens."""

    divergence: Divergence | None = None
    figures: dict[str, Figure] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def is_reference(case: Case) -> bool:
    """True if the other routes are compared with that of ``case``."""
    return (case.runtime, case.precision, case.mode) == (REFERENCE, BASELINE, "eager")


class Keeper:
    """Keeps the logits of the reference route, as its windows are scored."""

    def __init__(self, task: Task, workspace: Workspace) -> None:
        self._file = file_of(task.case, workspace)
        self._rows: list[Logits] = []
        self._tokens = 0

    def add(self, scored: Scored) -> None:
        """Keep the rows of one window, if there is room for them."""
        if scored.logits is None:
            raise RuntimeError("the reference route gives logits")
        room = _most_tokens(scored.logits.shape[1]) - self._tokens
        if room > 0:
            self._rows.append(scored.logits[:room])
            self._tokens += len(self._rows[-1])

    def result(self) -> Compared:
        """Write the file: others then need not run the reference route again."""
        _write(self._file, self._rows)
        return Compared(absent={"divergence": "this is the reference route"})

    @property
    def logits(self) -> Logits:
        """Shape (tokens, vocabulary), float32."""
        return np.concatenate(self._rows)


class Comparer:
    """Compares a route with the logits of the reference, as its windows are scored."""

    def __init__(self, task: Task, reference: Logits, why_no_logits: str | None) -> None:
        self._task = task
        self._reference = reference
        self._why_no_logits = why_no_logits
        self._windows = iter(task.places)
        self._at = 0
        self._kl: list[float] = []
        self._same: list[bool] = []
        self._changes: list[float] = []

    def add(self, scored: Scored) -> None:
        """Compare the tokens of one window, as far as there are reference logits of them."""
        window = next(self._windows)
        count = min(len(scored.nats), len(self._reference) - self._at)
        if count <= 0:
            return
        expected = torch.log_softmax(torch.from_numpy(np.array(self._reference[self._at : self._at + count])), dim=1)
        tokens = torch.tensor(self._task.ids[window.end - window.scored : window.end][:count])
        reference_nats = -expected[torch.arange(count), tokens]
        self._changes += (torch.tensor(scored.nats[:count], dtype=torch.float64) - reference_nats).tolist()
        if scored.logits is not None:
            found = torch.log_softmax(torch.from_numpy(scored.logits[:count]).float(), dim=1)
            # Rounding may give -1e-8.
            self._kl += (expected.exp() * (expected - found)).sum(dim=1).clamp(min=0).tolist()
            self._same += (expected.argmax(dim=1) == found.argmax(dim=1)).tolist()
        self._at += count

    def result(self) -> Compared:
        """Mean change of nats a token, paired, with its standard error; and the divergence."""
        changes = np.array(self._changes)
        error = float(changes.std(ddof=1) / math.sqrt(len(changes)))
        figures = {
            "nats_change": Figure(value=float(changes.mean()), unit="nats/token", better="lower"),
            "nats_change_error": Figure(value=error, unit="nats/token"),
            "nats_change_tokens": Figure(value=len(changes), unit="tokens", exact=True),
        }
        if not self._kl:
            reason = self._why_no_logits or "the runtime gave no logits"
            return Compared(figures=figures, absent={"divergence": reason})
        return Compared(divergence=summarized(np.array(self._kl), np.array(self._same)), figures=figures)


def score_windows(
    route: LanguageRoute, task: Task, workspace: Workspace, observer: Keeper | Comparer, batch_size: int
) -> tuple[list[tuple[float, ...]], list[float]]:
    """Nats of each scored token by windows, and the seconds of each batch of windows. Logits go to ``observer``."""
    nats: list[tuple[float, ...]] = []
    seconds = []
    with torch.no_grad():
        for first in range(0, len(task.places), batch_size):
            batch = task.places[first : first + batch_size]
            workspace.progress(
                f"{task.case.model} {task.case.precision}: perplexity, window {first + 1} of {len(task.places)}"
            )
            scored, taken = route.timed_score(task.ids, batch, task.before)
            seconds.append(taken)
            for window in scored:
                observer.add(window)
                nats.append(window.nats)
    return nats, seconds


def reference_logits(task: Task, workspace: Workspace) -> Logits:
    """Logits of the reference route for the first scored tokens of ``task``, shape (tokens, vocabulary).

    Read from the file that an earlier case left, else computed now. One file is kept for each language model.

    Raises:
        TooLittleMemory: the reference does not fit.
    """
    file = file_of(task.case, workspace)
    known = _read(file)
    if known is not None:
        return known
    workspace.progress(f"{task.case.model}: the reference's outputs, once")
    case = replace(task.case, runtime=REFERENCE, precision=BASELINE, mode="eager", batch_size=1)
    route = route_of(case, workspace)
    places = tuple(first_windows(task.places, _most_tokens(route.config.vocab_size)))
    keeper = Keeper(task, workspace)
    score_windows(route, replace(task, case=case, places=places), workspace, keeper, batch_size=1)
    keeper.result()
    return keeper.logits


def file_of(case: Case, workspace: Workspace) -> Path:
    """Where the reference's logits lie for the text, windows and model of ``case``."""
    names = ("text_digest", "context", "stride", "text_tokens")
    model = case.option("model_digest") or str(folder_of(workspace))
    key = digest_of([LAYOUT, model, *(case.option(name) for name in names)])
    return workspace.cache / f"reference-logits-{word(case.model)}" / f"{key}.f32"


def _most_tokens(vocabulary: int) -> int:
    return min(MOST_TOKENS, MOST_BYTES // (4 * vocabulary))


def _read(file: Path) -> Logits | None:
    """The array in ``file``, mapped; None where there is none, or not all of it."""
    try:
        rows, vocabulary = (int(part) for part in file.with_suffix(".shape").read_text().split())
        if file.stat().st_size != 4 * rows * vocabulary:
            return None
    except (OSError, ValueError):
        return None
    return np.memmap(file, dtype=np.float32, mode="r", shape=(rows, vocabulary))


def _write(file: Path, rows: Sequence[Logits]) -> None:
    """Write rows, whole or not at all, in place of those of other texts. A full disk costs time, nothing else."""
    partial = file.parent.with_name(f"{file.parent.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with (partial / file.name).open("wb") as stream:
            for part in rows:
                stream.write(np.ascontiguousarray(part, dtype=np.float32).tobytes())
        shape = (sum(len(part) for part in rows), rows[0].shape[1])
        (partial / file.name).with_suffix(".shape").write_text(f"{shape[0]} {shape[1]}")
        shutil.rmtree(file.parent, ignore_errors=True)
        partial.rename(file.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
