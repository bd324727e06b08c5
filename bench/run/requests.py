"""Requests to a worker: survey the machine, prepare data, fetch a language model, run a case; and their results."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from bench.core.errors import InputError
from bench.core.experiments import EXPERIMENTS
from bench.core.records import (
    Case,
    Failure,
    Machine,
    Measurement,
    Outcome,
    Scalar,
    from_json,
    outcome_from_json,
    to_json,
)
from bench.core.workspace import Workspace
from bench.run import worker
from bench.run.process import Worker
from bench.run.resume import Weights

Progress = Callable[[str], None]

SURVEY_SECONDS = 120.0
PREPARATION_SECONDS = 3600.0


class Runner(Protocol):
    """Performs one request somewhere and gives the reply of ``worker.perform``."""

    preload: tuple[str, ...]
    """Modules that a worker must find imported already."""

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]: ...

    @property
    def open(self) -> Callable[[dict[str, Any], Progress], Worker] | None:
        """Start a worker that takes turns; None where there are no processes besides this one."""
        ...


class InlineRunner:
    """Performs requests in this process, for a debugger: no time limit, and a crash takes pytest along."""

    preload: tuple[str, ...] = ()
    open = None

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return worker.perform(request, progress)


@dataclass(frozen=True, kw_only=True)
class Performed:
    """Result of one request to run a case."""

    outcome: Outcome
    seconds: float = 0.0
    spent: tuple[Path, ...] = ()
    """Files to remove once the outcome is kept."""


@dataclass(frozen=True, kw_only=True)
class LanguageFiles:
    """The folder that a language model is loaded from, or why there is none."""

    folder: Path | None = None
    digest: str | None = None
    problem: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the model for the report."""


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Every request that a run makes, with its time limit and its log."""

    runner: Runner
    progress: Progress

    def survey(self, workspace: Workspace, device: str, threads: int) -> tuple[Machine, dict[str, Scalar]]:
        """The machine and the numeric flags, as a first worker reports them.

        Raises:
            InputError: the device cannot be used, or no worker can be started.
        """
        preload = self.runner.preload
        request = self._request("survey", SURVEY_SECONDS, "survey", workspace)
        answer = self._answer({**request, "device": device, "threads": threads, "preload": preload})
        missing = set(preload) - set(answer["preloaded"])
        if missing:
            # The fork server swallows ImportError: each worker would import these again, and be slow without a word.
            raise InputError(
                f"the fork server could not import {', '.join(sorted(missing))}; is the environment whole?"
            )
        return from_json(Machine, answer["machine"]), answer["flags"]

    def prepare(self, workspace: Workspace, case: Case, users: Sequence[Case]) -> dict[str, Any]:
        """Decode the data set of ``case`` at its image size, and try the user's own networks.

        Raises:
            InputError: data or a network cannot be used.
        """
        request = self._request("prepare", PREPARATION_SECONDS, "prepare", workspace)
        return self._answer({**request, "case": to_json(case), "users": [to_json(user) for user in users]})

    def fetch(self, workspace: Workspace, model: str) -> LanguageFiles:
        """Find, download or make the files of a language model. A problem is returned, not raised."""
        request = self._request("fetch", PREPARATION_SECONDS, "fetch", workspace)
        reply = self.runner.perform({**request, "model": model}, self.progress)
        if "failure" in reply:
            return LanguageFiles(problem=reply["failure"]["message"])
        answer = dict(reply["answer"])
        return LanguageFiles(folder=Path(answer.pop("folder")), digest=answer["digest"], facts=answer)

    def run(
        self, workspace: Workspace, case: Case, time_limit: float, weights: Weights, files: LanguageFiles | None
    ) -> Performed:
        """Run ``case`` with ``weights`` and, for a language model, its ``files``."""
        if files and files.problem:
            return Performed(outcome=Failure(case=case, kind="error", message=files.problem))
        request = self.of_case(workspace, case, time_limit, weights, files)
        begin = time.monotonic()
        reply = self.runner.perform(request, self.progress)
        return performed(case, reply, reply.get("seconds", time.monotonic() - begin))

    def of_case(
        self, workspace: Workspace, case: Case, time_limit: float, weights: Weights, files: LanguageFiles | None
    ) -> dict[str, Any]:
        """The request to run ``case``."""
        request = self._request("run", time_limit, case.id, workspace)
        if weights.artefact:
            request["workspace"]["artefact"] = str(workspace.artefacts / weights.artefact)
        request["workspace"]["untrained"] = weights.untrained
        if files:
            request["workspace"]["model_folder"] = str(files.folder)
        return {**request, "case": to_json(case)}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        reply = self.runner.perform(request, self.progress)
        if "failure" in reply:
            raise InputError(reply["failure"]["message"])
        return dict(reply["answer"])

    def _request(self, action: str, time_limit: float, log: str, workspace: Workspace) -> dict[str, Any]:
        log_file = str(workspace.logs / f"{log}.log")
        return {"action": action, "time_limit": time_limit, "log": log_file, "workspace": worker.paths_of(workspace)}


def performed(case: Case, reply: Mapping[str, Any], seconds: float) -> Performed:
    """Result of a ``reply`` to the request to run ``case``."""
    if "failure" in reply:
        failure = Failure(case=case, kind=reply["failure"]["kind"], message=reply["failure"]["message"])
        return Performed(outcome=failure, seconds=seconds)
    spent = tuple(Path(file) for file in reply.get("spent", ()))
    return Performed(outcome=outcome_from_json(reply["answer"]), seconds=seconds, spent=spent)


def steps_down(failure: Failure) -> bool:
    """True if a smaller batch may fit, and is informative about the case."""
    case = failure.case
    return failure.kind == "out_of_memory" and EXPERIMENTS[case.experiment].shrinks and case.batch_size > 1


def stepped_down(failure: Failure, tried: Sequence[Outcome]) -> Failure:
    """``failure`` with the result of every smaller batch that was tried in its message.

    A batch that fits is no row of its own: the case that was asked for has none.
    """
    results = [_in_words(outcome) for outcome in tried]
    fitted = next((outcome for outcome in tried if isinstance(outcome, Measurement)), None)
    return replace(failure, message="; ".join([failure.message, *results]), fitted=fitted)


def _in_words(outcome: Outcome) -> str:
    size = outcome.case.batch_size
    if isinstance(outcome, Failure):
        return f"batch {size}: {outcome.kind}" + ("" if outcome.kind == "out_of_memory" else f" ({outcome.message})")
    return f"batch {size} fits: {statistics.median(outcome.seconds) * 1e3:.3g} ms a call"
