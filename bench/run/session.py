"""One pytest session of benchmark cases: from the options to the JSON. No torch."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.core import datasets
from bench.core.errors import CodeChanged, InputError
from bench.core.experiments import CASE_MODULES, EXPERIMENTS, LANGUAGE_EXPERIMENTS, group_of
from bench.core.other_work import cpu_times, disturbing_cores
from bench.core.records import SCHEMA, Case, Failure, Measurement, Outcome, from_json, to_json
from bench.core.workspace import Workspace, artefact_name, training_code
from bench.plan.command_line import make_plan
from bench.plan.inference_cases import largest_case, user_cases
from bench.plan.plan import Plan, Requested, time_limit
from bench.run.cluster import ClusterRunner
from bench.run.engine import Engine
from bench.run.journal import Journal
from bench.run.minutes import Minutes
from bench.run.process import ProcessRunner
from bench.run.rebuild import row_of
from bench.run.requests import InlineRunner, LanguageFiles
from bench.run.result import Elsewhere, ReplayClock, ResultFile, bare, summary
from bench.run.turns import SetPlan

CASES = Path(__file__).resolve().parents[1]
"""The folder of the case modules."""
NOTHING_WRITTEN = "--benchmark-disable: cases run, no JSON is written, that of an earlier run stays"
BESIDE_OTHERS = (
    "other processes keep {:.1f} of the cores busy: this run takes longer, and its ratios are less certain. "
    "If it is another run, end one."
)
CODE_CHANGED = 6
"""Exit status of a run that ended since its code was edited. pytest's own go up to 5."""
QUIET_SECONDS = 15.0
"""Shortest time between two lines of progress where there is no terminal."""
BENCHMARK_DEFAULTS = {"benchmark_max_time": 1.0, "benchmark_min_rounds": 5}


def cases_requested(config: pytest.Config) -> bool:
    """True if a path given to pytest holds benchmark cases."""
    paths = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    return any(path.is_relative_to(CASES) or CASES.is_relative_to(path) for path in paths)


class BenchSession:
    """The plan, the engine and the results of one run."""

    def __init__(self, config: pytest.Config) -> None:
        """Checks everything that can be checked before a process starts.

        Raises:
            InputError: an option, the data or the results folder cannot be used.
        """
        _refuse_parallel(config)
        self.config = config
        self.disabled = bool(config.option.benchmark_disable and not config.option.benchmark_enable)
        """True if pytest-benchmark keeps nothing: the cases run, and the JSON of an earlier run stays."""
        self.listing = bool(config.option.collectonly)
        self.plan: Plan = make_plan(self._option, offline=self.listing)
        self.clock = ReplayClock()
        self.datasets: list[dict[str, Any]] = []
        self.deselected = 0
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._last_shown = 0.0
        self._closing: list[str] = []
        self._items: Sequence[pytest.Item] = ()
        self._json = _result_file(config, disabled=self.disabled)
        results = self._json.folder
        runner = self._runner(results)
        self.engine = Engine(
            runner=runner,
            workspace=Workspace(
                results=results,
                data_dir=self.plan.data_dir.resolve(),
                training_code=training_code(),
                profile=config.option.profile,
                track=self.plan.track,
            ),
            journal=Journal(results / "journal.jsonl"),
            case_timeout=self._limit,
            progress=self.show,
            artefact_of=self._artefact_of,
        )
        asked = self.plan.minutes
        self.minutes = Minutes(asked=asked, plan=self.plan, engine=self.engine) if asked else None
        if not self.listing:
            self._json.check()
            self._json.lock()
            config.option.benchmark_json = Elsewhere(self._json.path) if self._json.path else None
            if isinstance(runner, ClusterRunner):
                config.add_cleanup(runner.stop)
                self.engine.measure_sets = lambda sets: runner.measure(sets, self.show)
            if not isinstance(runner, InlineRunner):
                runner.start()

    def _runner(self, results: Path) -> InlineRunner | ProcessRunner | ClusterRunner:
        option, language = self.config.option, self.plan.language is not None
        if option.cluster is None:
            if option.nodes is not None:
                raise InputError(f"--nodes {option.nodes} chooses nodes of a cluster: give --cluster as well.")
            return (
                InlineRunner()
                if option.isolation == "none"
                else ProcessRunner(device=self.plan.device, language=language)
            )
        if option.isolation == "none":
            raise InputError("--cluster runs cases in processes of other machines: leave out --isolation none.")
        return ClusterRunner(option.cluster, results, self.plan.device, language=language, kind=option.nodes)

    def header(self) -> list[str]:
        """Lines for pytest's header."""
        plan = self.plan
        return [
            f"halfbyte: {plan.device}, {plan.threads} threads, data set {datasets.described(plan.dataset)}, "
            f"budget {plan.budget.name} ({plan.budget.summary})",
            f"models: {', '.join((*plan.models, *(plan.language.models if plan.language else ())))}",
            *([NOTHING_WRITTEN] if self.disabled else []),
        ]

    def arrange(self, items: list[pytest.Item]) -> None:
        """Order by repeat, then as listed, so that rows to be compared are interleaved; give all the replay's clock."""
        items[:] = [item for item in items if not _without_parameters(item)]
        for item in self._cases(items):
            item.add_marker(pytest.mark.benchmark(timer=self.clock))
        items.sort(key=_rank)

    def prepare(self, items: list[pytest.Item]) -> None:
        """Survey the machine, decode the data, try the user's networks, look into the journal.

        With ``--minutes`` only the ``items`` that fit stay.

        Raises:
            InputError: one of them cannot be used.
        """
        if not self._cases(items):
            return
        plan, begun = self.plan, cpu_times()
        self.engine.survey(plan.device, plan.threads)
        facts = self.engine.prepare(largest_case(plan), user_cases(plan))
        self.datasets.append(facts["dataset"])
        fetched = {model: self.engine.fetch(model).digest for model in _language_models(items)}
        self.plan = replace(
            plan,
            model_digests={name: digest for name, digest in fetched.items() if digest},
            sources={name: self.engine.sources.watch(map(Path, files)) for name, files in facts["networks"].items()},
        )
        needed = plan.threads if plan.device == "cpu" else 1
        busy = disturbing_cores(begun, cpu_times(), needed)
        if busy and not isinstance(self.engine.runner, ClusterRunner):
            self._write_line(BESIDE_OTHERS.format(busy))
        adoption = self.engine.resume([facts["dataset"]["digest"]], take=self.config.option.resume)
        for line in adoption.lines() if self.config.option.resume else ():
            self._write_line(line)
        if self.config.option.resume and self.config.option.profile:
            self._write_line("resuming: --profile traces what runs now, not what is taken")
        if self.minutes:
            self.minutes.plan = self.plan
            chosen = self.minutes.choose(self._cases(items))
            items[:] = [*chosen, *(item for item in items if not _is_case(item))]
            self._write_line(self.minutes.line)
        self._plan_sets(items)
        repaired = self.engine.journal.repair()  # not before: a run that does not begin leaves the journal as it is
        if repaired:
            self._write_line(repaired)
        self.engine.begin(self.facts(), self._commit())
        if isinstance(self.engine.runner, ClusterRunner):
            self.engine.runner.ahead(self.engine.requests_ahead(self.engine.sets.asked))
        self._json.claim()

    def _plan_sets(self, items: Sequence[pytest.Item]) -> None:
        self._items = items
        asked, close = list(self._asked(items)), self.plan.budget.close_routes
        spread = isinstance(self.engine.runner, ProcessRunner)
        self.engine.sets = SetPlan(asked=asked, count=self.plan.sets, close=close, spread=spread)

    def _limit(self, case: Case) -> float:
        usual = time_limit(self.plan, case)
        return self.minutes.limit(usual) if self.minutes else usual

    def why_left_out(self, test: str) -> str | None:
        """Reason why ``test``, whose turn it is, is not measured any more; None if it is."""
        if self.minutes and self.minutes.late(test):
            self._plan_sets([item for item in self._items if item.nodeid not in self.minutes.left_out])
        return self.minutes.why_not(test) if self.minutes else None

    @property
    def failures(self) -> list[Failure]:
        """Failed cases, the trainings that a selected case needed among them."""
        return [outcome for outcome in self.engine.outcomes.values() if isinstance(outcome, Failure)]

    def _replay(self, benchmark: Any, outcome: Outcome) -> None:
        """Make a measurement the result of the ``benchmark`` fixture."""
        if isinstance(outcome, Measurement):
            benchmark.group = group_of(outcome.case)
            benchmark.extra_info.update(to_json(outcome))
            self.clock.replay(benchmark, outcome.seconds)

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

    def run(self, benchmark: Any, case: Case, needs: Case | None) -> Outcome:
        """The outcome of ``case`` for the test that ``benchmark`` is of, whose result a measurement then is."""
        names = ("name", "fullname", "param", "params")
        test = {**{name: getattr(benchmark, name) for name in names}, "group": group_of(case)}
        try:
            if self.minutes and self.minutes.untrained(benchmark.fullname, needs):
                pytest.skip(self.minutes.why_not(benchmark.fullname) or "")
            outcome = self.engine.run(case, needs, test, lambda outcome: self._replay(benchmark, outcome))
        except CodeChanged as error:
            pytest.exit(str(error), returncode=CODE_CHANGED)
        if self.minutes and self.minutes.cut_off(benchmark.fullname, outcome):
            pytest.skip(self.minutes.why_not(benchmark.fullname) or "")
        return outcome

    def measure_further_sets(self) -> None:
        """Measure, after the last test, the sets that are left: their turns are added to the rows in the JSON."""
        try:
            self.engine.measure_further_sets()
        except CodeChanged as error:
            pytest.exit(str(error), returncode=CODE_CHANGED)

    def facts(self) -> dict[str, Any]:
        """Facts about the run as a whole that are known before the first case."""
        return {
            "schema": SCHEMA,
            "machine": to_json(self.engine.machine) if self.engine.machine else None,
            "command": shlex.join(["pytest", *map(str, self.config.invocation_params.args)]),
            "started": self._started,
            "budget": self.plan.budget.name,
            "datasets": self.datasets,
            "language_models": [_model_facts(name, files) for name, files in self.engine.language_files.items()],
            "texts": [{name: value for name, value in vars(self.plan.text).items() if name != "file"}]
            if self.engine.language_files
            else [],
            "deselected": self.deselected,
            **(self.minutes.facts() if self.minutes else {}),
            "fingerprint": self.engine.workspace.fingerprint,
            "max_drop": self.config.option.max_drop,
        }

    def summary(self) -> dict[str, Any]:
        """Facts about the run as a whole, for the JSON."""
        engine = self.engine
        return summary(
            self.facts(),
            engine.outcomes.values(),
            engine.case_seconds,
            seconds=engine.seconds,
            resumed=engine.resumed,
            results=engine.workspace.results,
        )

    def _commit(self) -> dict[str, Any]:
        commit: dict[str, Any] = self.config.hook.pytest_benchmark_generate_commit_info(config=self.config)
        return commit

    def _artefact_of(self, training: Case) -> str:
        return artefact_name(training, self.datasets[0]["digest"], self.engine.workspace.training_code)

    def keep(self, output: dict[str, Any]) -> None:
        """Add our section, and the turns of further sets, to what pytest-benchmark is about to write, and write it."""
        for row in output["benchmarks"]:
            case = row["extra_info"].get("case")
            identity = from_json(Case, case).id if case else None
            outcome = self.engine.outcomes[identity] if identity in self.engine.amended else None
            if isinstance(outcome, Measurement):
                row |= row_of(outcome)
        output["halfbyte"] = self.summary()
        self._json.write(output)

    def finish(self) -> bool:
        """Write what is not on the disk yet. Returns whether the JSON is there in the end, if one is to be."""
        if self.listing:
            return True
        if self.failures and not self._json.problem:  # pytest-benchmark writes nothing without a benchmark
            self._json.write(bare(self.summary(), self._commit(), datetime.now(UTC).isoformat()))
        try:
            self.engine.journal.flush()
        except OSError as error:
            self._closing.append(self.engine.journal.rescued(error))
        self._json.release()
        if self._json.problem:
            self._closing.append(
                f"{self._json.path} could not be written ({self._json.problem}). The journal holds every outcome: make "
                f"room, then `python -m bench.run.rebuild {self.engine.journal.path} --out {self._json.path}`."
            )
        return self._json.problem is None

    def closing(self) -> list[str]:
        """Lines for the end of pytest's output."""
        adopted = len(self.engine.adoption.entries)
        taken = [f"resumed: took {self.engine.resumed} of {adopted} measurements"] if self.config.option.resume else []
        left_out = self.minutes.closing(self.config.invocation_params.args) if self.minutes else []
        report = [] if self.listing else self._json.report()
        return [*taken, *left_out, *([NOTHING_WRITTEN] if self.disabled else []), *self._closing, *report]

    def _cases(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        return [item for item in items if _is_case(item)]

    def _asked(self, items: Sequence[pytest.Item]) -> Iterator[Requested]:
        """Cases of the tests that tell them beforehand: those that take turns."""
        for item in self._cases(items):
            requested = getattr(item.module, "requested", None)  # type: ignore[attr-defined]
            if requested:
                yield requested(self.plan, **item.callspec.params)  # type: ignore[attr-defined]

    def _option(self, name: str) -> Any:
        value = self.config.getoption(name, None)
        if name in BENCHMARK_DEFAULTS:
            value = float(value) if name == "benchmark_max_time" else value
            return None if value == BENCHMARK_DEFAULTS[name] else value
        return value

    def _write_line(self, line: str) -> None:
        with self._uncaptured():
            if reporter := self.config.pluginmanager.get_plugin("terminalreporter"):
                reporter.write_line(line)

    def _uncaptured(self) -> AbstractContextManager[None]:
        manager = self.config.pluginmanager.get_plugin("capturemanager")
        return manager.global_and_fixture_disabled() if manager else nullcontext()


def _refuse_parallel(config: pytest.Config) -> None:
    """Refuse pytest-xdist: processes that measure at once disturb one another.

    Raises:
        InputError: workers were asked for.
    """
    workers = getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None)
    if workers or hasattr(config, "workerinput"):
        raise InputError("cases are not run in parallel, they would disturb one another: leave out -n (pytest-xdist).")


def _result_file(config: pytest.Config, *, disabled: bool) -> ResultFile:
    named = config.option.benchmark_json
    path = Path(named).expanduser().absolute() if named else None
    return ResultFile(None if disabled else path, path.parent if path else config.rootpath / "results")


def _is_case(item: pytest.Item) -> bool:
    """True if ``item`` is a benchmark case, also if the checkout is behind a symbolic link."""
    return item.path.resolve().is_relative_to(CASES)


def _language_models(items: Sequence[pytest.Item]) -> list[str]:
    """Language models that selected cases are about, in their order."""
    modules = {EXPERIMENTS[name].cases for name in LANGUAGE_EXPERIMENTS}
    chosen = [item for item in items if _is_case(item) and item.path.stem in modules]
    return list(dict.fromkeys(item.callspec.params["model"] for item in chosen))  # type: ignore[attr-defined]


def _model_facts(name: str, files: LanguageFiles) -> dict[str, Any]:
    return {"name": name, "digest": files.digest, "problem": files.problem, **files.facts}


def _without_parameters(item: pytest.Item) -> bool:
    """True if pytest made ``item`` of a case module with nothing to measure: its parameters are no plain values."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not _is_case(item):
        return False
    return not all(isinstance(value, str | int) for value in callspec.params.values())


def _rank(item: pytest.Item) -> tuple[int, int]:
    callspec = getattr(item, "callspec", None)
    repeat = callspec.params.get("repeat", 0) if callspec else 0
    module = item.path.stem
    return (repeat, CASE_MODULES.index(module) if module in CASE_MODULES else len(CASE_MODULES))
