"""Who runs a case, and where: in a fresh process (default) or in this one. Never imports torch itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from bench.engine import worker
from bench.engine.fingerprint import fingerprint
from bench.engine.journal import Entry, Journal
from bench.engine.needs import LanguageFiles, Weights
from bench.errors import InputError
from bench.records import Case, Failure, Machine, Measurement, Outcome, Scalar, from_json, outcome_from_json, to_json
from bench.workspace import Workspace

SURVEY_SECONDS = 120.0
PREPARATION_SECONDS = 3600.0
Progress = Callable[[str], None]


class Runner(Protocol):
    """Performs one request somewhere and gives the reply of ``worker.perform``."""

    preload: tuple[str, ...]
    """Modules that a worker must find imported already."""

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]: ...


class InlineRunner:
    """Performs requests in this process, for a debugger: no time limit, and a crash takes pytest along."""

    preload: tuple[str, ...] = ()

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return worker.perform(request, progress)


@dataclass(kw_only=True)
class Engine:
    """Runs cases, keeps every outcome, and runs nothing twice."""

    runner: Runner
    workspace: Workspace
    journal: Journal
    case_timeout: Callable[[Case], float]
    progress: Progress
    artefact_of: Callable[[Case], str] | None = None
    """Name of the file of weights that a training case gives, under ``workspace.artefacts``."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    case_seconds: dict[str, float] = field(default_factory=dict)
    machine: Machine | None = None
    flags: dict[str, Scalar] = field(default_factory=dict)
    language_files: dict[str, LanguageFiles] = field(default_factory=dict)
    """Folders of the language models of the run, by the names that cases call them."""
    adopted: dict[str, Outcome] = field(default_factory=dict)
    """Measurements that an earlier run left in the journal, to be taken when their case is asked for."""
    resumed: int = 0
    """How many of them were taken."""

    def survey(self, device: str, threads: int) -> Machine:
        """Ask a first worker what machine this is.

        Raises:
            InputError: the device cannot be used, or no worker can be started.
        """
        request = self._request("survey", SURVEY_SECONDS, "survey")
        preload = self.runner.preload
        answer = self._answer({**request, "device": device, "threads": threads, "preload": preload})
        missing = set(preload) - set(answer["preloaded"])
        if missing:
            # The fork server swallows ImportError: each worker would import these again, and be slow without a word.
            raise InputError(
                f"the fork server could not import {', '.join(sorted(missing))}; is the environment whole?"
            )
        self.machine = from_json(Machine, answer["machine"])
        self.flags = answer["flags"]
        return self.machine

    def prepare(self, case: Case, users: Sequence[Case]) -> dict[str, Any]:
        """Decode the data set of ``case`` at its image size, and try the user's own networks, before any case runs.

        Raises:
            InputError: data or a network cannot be used.
        """
        request = self._request("prepare", PREPARATION_SECONDS, "prepare")
        facts = self._answer({**request, "case": to_json(case), "users": [to_json(user) for user in users]})
        self.workspace = replace(self.workspace, decoded=Path(facts["decoded"]))
        return facts

    def fetch(self, model: str) -> LanguageFiles:
        """Find, download or make the files of a language model. A problem is kept: its cases then fail with it."""
        request = self._request("fetch", PREPARATION_SECONDS, "fetch")
        reply = self.runner.perform({**request, "model": model}, self.progress)
        if "failure" in reply:
            files = LanguageFiles(problem=reply["failure"]["message"])
        else:
            answer = dict(reply["answer"])
            files = LanguageFiles(folder=Path(answer.pop("folder")), digest=answer["digest"], facts=answer)
        self.language_files[model] = files
        return files

    def resume(self, data_digests: Sequence[str], *, take: bool) -> int:
        """Fix the fingerprint of this run and, if ``take``, adopt matching measurements from the journal.

        Failures are not adopted: they are tried again. Returns how many measurements can be taken.
        """
        if self.machine is None:
            raise RuntimeError("survey the machine first")
        mark = fingerprint(self.machine, self.flags, data_digests)
        self.workspace = replace(self.workspace, fingerprint=mark)
        for entry in self.journal.entries() if take else ():
            outcome = entry.outcome
            if entry.fingerprint == mark and isinstance(outcome, Measurement) and self._whole(outcome):
                self.adopted[outcome.case.id] = outcome
        return len(self.adopted)

    def run(self, case: Case, needs: Case | None = None) -> Outcome:
        """The outcome of ``case``, run now unless it is known. ``needs`` is the training whose weights it reads.

        What is needed is run first, as its own outcome, outside the clock and the time limit of ``case``.
        """
        weights = self._weights_of(needs)
        if case.id in self.outcomes:
            return self.outcomes[case.id]
        adopted = self.adopted.get(case.id)
        if isinstance(adopted, Measurement) and weights.allow(adopted):
            self.resumed += 1
            self.outcomes[case.id] = adopted
            return adopted
        begin = time.monotonic()
        outcome = self._perform(case, weights)
        seconds = time.monotonic() - begin
        self.outcomes[case.id] = outcome
        self.case_seconds[case.id] = seconds
        self._write(Entry(outcome=outcome, fingerprint=self.workspace.fingerprint, case_seconds=seconds))
        return outcome

    def _weights_of(self, training: Case | None) -> Weights:
        """The weights that ``training`` gives: those of an earlier run if their file is there, else it is run now.

        A file is named by all that shapes the weights in it. A run whose own cases include the training has run it
        before, and does not come to the file.
        """
        if training is None:
            return Weights(fresh=False)
        known = training.id in self.outcomes or training.id in self.adopted
        name = self.artefact_of(training) if self.artefact_of and not known else None
        if name and (self.workspace.artefacts / name).is_file():
            return Weights(artefact=name, fresh=False)
        trained = self.run(training)
        if isinstance(trained, Failure):
            return Weights(untrained=f"its training failed ({trained.kind}: {trained.message})")
        return Weights(artefact=trained.artefact, fresh=training.id in self.case_seconds)

    def _write(self, entry: Entry) -> None:
        """Into the journal. A full disk must not cost the measurement, which still goes into the JSON."""
        try:
            self.journal.append(entry)
        except OSError as error:
            self.progress(f"{self.journal.path} cannot be written ({error}): what follows cannot be resumed")

    def _perform(self, case: Case, weights: Weights) -> Outcome:
        files = self.language_files.get(case.model)
        if files and files.problem:
            return Failure(case=case, kind="error", message=files.problem)
        request = self._request("run", self.case_timeout(case), case.id)
        if weights.artefact:
            request["workspace"]["artefact"] = str(self.workspace.artefacts / weights.artefact)
        request["workspace"]["untrained"] = weights.untrained
        if files:
            request["workspace"]["model_folder"] = str(files.folder)
        reply = self.runner.perform({**request, "case": to_json(case)}, self.progress)
        if "failure" in reply:
            return Failure(case=case, kind=reply["failure"]["kind"], message=reply["failure"]["message"])
        return outcome_from_json(reply["answer"])

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        reply = self.runner.perform(request, self.progress)
        if "failure" in reply:
            raise InputError(reply["failure"]["message"])
        return dict(reply["answer"])

    def _request(self, action: str, time_limit: float, log: str) -> dict[str, Any]:
        space = self.workspace
        return {
            "action": action,
            "time_limit": time_limit,
            "log": str(space.logs / f"{log}.log"),
            "workspace": {
                "results": str(space.results),
                "data_dir": str(space.data_dir),
                "decoded": str(space.decoded) if space.decoded else None,
                "artefact": None,
                "untrained": None,
                "model_folder": None,
                "fingerprint": space.fingerprint,
            },
        }

    def _whole(self, measurement: Measurement) -> bool:
        """Whether the files that a measurement speaks of are still there."""
        quality = measurement.quality
        files = [
            self.workspace.artefacts / measurement.artefact if measurement.artefact else None,
            self.workspace.results / quality.predictions.path if quality and quality.predictions else None,
        ]
        return all(file is None or file.is_file() for file in files)
