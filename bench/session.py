"""One pytest session of benchmark cases: from the options to the JSON. No torch."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.engine import Engine, InlineRunner
from bench.engine.journal import Journal
from bench.engine.needs import LanguageFiles
from bench.engine.process import ProcessRunner
from bench.engine.replay import ReplayClock
from bench.errors import InputError
from bench.options import make_plan
from bench.plan import LANGUAGE_EXPERIMENTS, Plan
from bench.records import SCHEMA, Case, Failure, Measurement, to_json
from bench.train.artefacts import artefact_name, training_code
from bench.training_plan import TRAININGS
from bench.workspace import Workspace

CASES = Path(__file__).resolve().parent
"""The folder of the case modules."""
ORDER = (
    "test_ceilings",
    "test_noise",
    "test_training",
    "test_ladder",
    "test_training_step",
    "test_loading",
    "test_transfer",
    "test_ablations",
    "test_speedrun",
    "test_inference",
    "test_layers",
    "test_language",
)
"""Case modules in the order in which they run within one repeat."""
QUIET_SECONDS = 15.0
"""Where no terminal shows progress as it comes, a line of it at most this often."""
BENCHMARK_DEFAULTS = {"benchmark_max_time": 1.0, "benchmark_min_rounds": 5}


def cases_requested(config: pytest.Config) -> bool:
    """Whether a path that pytest was given holds benchmark cases."""
    paths = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    return any(path.is_relative_to(CASES) or CASES.is_relative_to(path) for path in paths)


class BenchSession:
    """Holds the plan, the engine and what came of every case."""

    def __init__(self, config: pytest.Config) -> None:
        """Checks everything that can be checked before a process starts.

        Raises:
            InputError: an option, the data or the results folder cannot be used.
        """
        self.config = config
        self.listing = bool(config.option.collectonly)
        self.plan: Plan = make_plan(self._option, offline=self.listing)
        self.clock = ReplayClock()
        self.datasets: list[dict[str, Any]] = []
        self.deselected = 0
        self._begin = time.monotonic()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._last_shown = 0.0
        self._json = _JsonFile(config)
        runner = (
            InlineRunner()
            if config.option.isolation == "none"
            else ProcessRunner(device=self.plan.device, language=self.plan.language is not None)
        )
        results = self._json.folder
        self.engine = Engine(
            runner=runner,
            workspace=Workspace(results=results, data_dir=self.plan.data_dir.resolve()),
            journal=Journal(results / "journal.jsonl"),
            case_timeout=self.plan.time_limit,
            progress=self.show,
            artefact_of=self._artefact_of,
        )
        if not self.listing:
            self._json.check()
            if isinstance(runner, ProcessRunner):
                runner.start()

    def header(self) -> list[str]:
        """Lines for pytest's header."""
        plan = self.plan
        return [
            f"halfbyte: {plan.device}, {plan.threads} threads, data set {plan.dataset}, "
            f"budget {plan.budget.name} ({plan.budget.summary})",
            f"models: {', '.join((*plan.models, *(plan.language.models if plan.language else ())))}",
        ]

    def arrange(self, items: list[pytest.Item]) -> None:
        """Order by repeat, then as listed, so that rows to be compared are interleaved; give all the replay's clock."""
        items[:] = [item for item in items if not _without_parameters(item)]
        for item in self._cases(items):
            item.add_marker(pytest.mark.benchmark(timer=self.clock))
        items.sort(key=_rank)

    def prepare(self, items: Sequence[pytest.Item]) -> None:
        """Survey the machine, decode the data, try the user's networks, look into the journal.

        Raises:
            InputError: one of them cannot be used.
        """
        if not self._cases(items):
            return
        self._json.claim()
        plan = self.plan
        self.engine.survey(plan.device, plan.threads)
        facts = self.engine.prepare(plan.largest_case(), plan.user_cases())
        self.datasets.append(facts["dataset"])
        fetched = {model: self.engine.fetch(model).digest for model in _language_models(items)}
        self.plan = replace(plan, model_digests={name: digest for name, digest in fetched.items() if digest})
        found = self.engine.resume([facts["dataset"]["digest"]], take=self.config.option.resume)
        if self.config.option.resume:
            damaged = self.engine.journal.damaged_lines
            self._write_line(
                f"resuming: {found} measurements of this code, machine and data in {self.engine.journal.path}"
                + (f"; {damaged} damaged lines left out" if damaged else "")
            )

    @property
    def failures(self) -> list[Failure]:
        """What failed, the trainings that a selected case needed among it."""
        return [outcome for outcome in self.engine.outcomes.values() if isinstance(outcome, Failure)]

    def replay(self, benchmark: Any, measurement: Measurement) -> None:
        """Make ``measurement`` the result of the ``benchmark`` fixture."""
        case = measurement.case
        benchmark.group = _group(case)
        benchmark.extra_info.update(to_json(measurement))
        self.clock.replay(benchmark, measurement.seconds)

    def show(self, line: str) -> None:
        """Show what a case is doing: in place on a terminal, else now and then."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if not terminal and now - self._last_shown < QUIET_SECONDS:
            return
        self._last_shown = now
        with self._uncaptured():
            sys.stderr.write(f"\r\x1b[2K{line}\r" if terminal else f"\n  {line}")
            sys.stderr.flush()

    def summary(self) -> dict[str, Any]:
        """What the JSON says of the run as a whole."""
        return {
            "schema": SCHEMA,
            "machine": to_json(self.engine.machine) if self.engine.machine else None,
            "command": shlex.join(["pytest", *map(str, self.config.invocation_params.args)]),
            "started": self._started,
            "seconds": time.monotonic() - self._begin,
            "budget": self.plan.budget.name,
            "datasets": self.datasets,
            "language_models": [_model_facts(name, files) for name, files in self.engine.language_files.items()],
            "texts": [{name: value for name, value in vars(self.plan.text).items() if name != "file"}]
            if self.engine.language_files
            else [],
            "resumed": self.engine.resumed,
            "deselected": self.deselected,
            "fingerprint": self.engine.workspace.fingerprint,
            "failures": [to_json(failure) for failure in self.failures],
            "case_seconds": dict(self.engine.case_seconds),
            "predictions": self._predictions(),
        }

    def _artefact_of(self, training: Case) -> str:
        return artefact_name(training, self.datasets[0]["digest"], training_code(training.model))

    def _predictions(self) -> dict[str, str]:
        """Predicted labels of all outcomes by their digest, each once, for a report to pair rows by."""
        found: dict[str, str] = {}
        for outcome in self.engine.outcomes.values():
            stored = outcome.quality.predictions if isinstance(outcome, Measurement) and outcome.quality else None
            if stored and stored.sha256 not in found:
                with suppress(OSError):  # a row without its labels is still a row
                    found[stored.sha256] = (self.engine.workspace.results / stored.path).read_text()
        return found

    def finish(self) -> None:
        """Put the JSON in its place, once pytest-benchmark has written it."""
        if not self.listing:
            self._json.place(self.summary() if self.failures else None)

    def _cases(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        return [item for item in items if item.path.is_relative_to(CASES)]

    def _option(self, name: str) -> Any:
        value = self.config.getoption(name, None)
        if name in BENCHMARK_DEFAULTS:
            value = float(value) if name == "benchmark_max_time" else value
            return None if value == BENCHMARK_DEFAULTS[name] else value
        return value

    def _write_line(self, line: str) -> None:
        with self._uncaptured():
            reporter = self.config.pluginmanager.get_plugin("terminalreporter")
            if reporter:
                reporter.write_line(line)

    def _uncaptured(self) -> AbstractContextManager[None]:
        manager = self.config.pluginmanager.get_plugin("capturemanager")
        return manager.global_and_fixture_disabled() if manager else nullcontext()


class _JsonFile:
    """Where ``--benchmark-json`` goes: written beside and renamed, so that a torn file never has its name."""

    def __init__(self, config: pytest.Config) -> None:
        given = config.option.benchmark_json
        self.path = Path(given).absolute() if given else None
        self.folder = self.path.parent if self.path else config.rootpath / "results"
        self._option = config.option

    def check(self) -> None:
        """Make the folder and see that it can be written to.

        Raises:
            InputError: the folder is a file or cannot be written to.
        """
        probe = self.folder / f".probe-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"results folder {self.folder} cannot be written to ({reason}); "
                "name another with --benchmark-json FOLDER/run.json."
            ) from None
        if self.path is None:
            return
        if self.path.is_dir():
            raise InputError(f"--benchmark-json {self.path} is a folder; name a file in it, like {self.path}/run.json.")
        self._option.benchmark_json = str(self._partial)

    def claim(self) -> None:
        """Move the file of an earlier run aside."""
        if self.path is None:
            return
        self._partial.unlink(missing_ok=True)
        if self.path.exists():
            # A run that measures nothing must not leave an older run's figures to be rendered as its own.
            os.replace(self.path, self.path.with_suffix(".previous.json"))

    def place(self, summary: dict[str, Any] | None) -> None:
        """Rename the file that pytest-benchmark wrote. It writes none without a benchmark: failures alone are ours."""
        if self.path is None:
            return
        if not self._partial.exists() and summary:
            now = datetime.now(UTC).isoformat()
            empty = {"machine_info": {}, "commit_info": {}, "benchmarks": [], "datetime": now, "version": "none"}
            self._partial.write_text(json.dumps({**empty, "halfbyte": summary}, indent=4))
        with suppress(FileNotFoundError):
            os.replace(self._partial, self.path)

    @property
    def _partial(self) -> Path:
        assert self.path is not None
        return self.path.with_name(f".{self.path.name}.partial")


def _group(case: Case) -> str:
    """Seconds of an epoch and milliseconds of a call do not belong into one table of pytest-benchmark's."""
    if case.experiment == "ceilings":
        return case.experiment
    if case.experiment in (*TRAININGS, "training_step", "loading"):
        return f"{case.experiment} {case.model}"
    if case.experiment in LANGUAGE_EXPERIMENTS:
        return f"{case.experiment} {case.model} b{case.batch_size}"
    what = case.model if case.experiment == "layers" else case.experiment
    return f"{what} b{case.batch_size}"


def _language_models(items: Sequence[pytest.Item]) -> list[str]:
    """Language models that selected cases are about, in their order."""
    chosen = [item for item in items if item.path == CASES / "test_language.py"]
    return list(dict.fromkeys(item.callspec.params["model"] for item in chosen))  # type: ignore[attr-defined]


def _model_facts(name: str, files: LanguageFiles) -> dict[str, Any]:
    return {"name": name, "digest": files.digest, "problem": files.problem, **files.facts}


def _without_parameters(item: pytest.Item) -> bool:
    """Whether pytest made ``item`` of a case module that has nothing to measure: its parameters are no plain values."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not item.path.is_relative_to(CASES):
        return False
    return not all(isinstance(value, str | int) for value in callspec.params.values())


def _rank(item: pytest.Item) -> tuple[int, int]:
    callspec = getattr(item, "callspec", None)
    repeat = callspec.params.get("repeat", 0) if callspec else 0
    module = item.path.stem
    return (repeat, ORDER.index(module) if module in ORDER else len(ORDER))
