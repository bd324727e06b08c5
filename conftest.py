"""pytest glue of the benchmark cases: options, the ``plan`` and ``measure`` fixtures, hooks into pytest-benchmark.

Nothing here imports torch: cases run in processes of their own, see ``bench/run``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.records import Case, Measurement
from bench.plan.inference_cases import why_sweep_ended
from bench.plan.options import add_options
from bench.plan.plan import Plan
from bench.run.session import BenchSession, cases_requested

SESSION = pytest.StashKey[BenchSession]()
Measure = Callable[..., Measurement]

ID_FORMATS = {
    "batch_size": "b{}",
    "image_size": "{}px",
    "prompt": "p{}",
    "repeat": "r{}",
    "seed": "s{}",
    "twin": "twin",
    "width": "w{}",
}
"""Forms of parameters in a test's name, where the bare value would not say what it is."""
UNSAID = (("runtime", "torch"), ("twin", 0))
"""Values that a test's name leaves out, since most rows have them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("halfbyte", "what the benchmark cases measure")
    add_options(group.addoption)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if cases_requested(config):
        # A failed case has nothing to replay, and is in the JSON all the same.
        config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")
        config.addinivalue_line("filterwarnings", "ignore:Not saving anything")
        with usage_errors():
            config.stash[SESSION] = BenchSession(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    session = config.stash.get(SESSION, None)
    return session.header() if session else []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A case module lists its parameters in ``parameters(plan)``: plain values, since pytest-benchmark stores them."""
    parameters = getattr(metafunc.module, "parameters", None)
    session = metafunc.config.stash.get(SESSION, None)
    if parameters is None or session is None:
        return
    names = [name for name in inspect.signature(metafunc.function).parameters if name not in ("measure", "plan")]
    rows = [{name: row[name] for name in names} for row in parameters(session.plan)]
    metafunc.parametrize(names, [pytest.param(*row.values(), id=_identifier(row)) for row in rows])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session = config.stash.get(SESSION, None)
    if session:
        session.arrange(items)


def pytest_deselected(items: list[pytest.Item]) -> None:
    session = items[0].config.stash.get(SESSION, None) if items else None
    if session:
        session.deselected += len(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    bench = session.config.stash.get(SESSION, None)
    if not bench or session.config.option.collectonly or session.testsfailed:
        return (yield)
    with usage_errors():
        bench.prepare(session.items)
        session.testscollected = len(session.items)
    result = yield
    bench.measure_further_sets()
    return result


@pytest.fixture
def plan(pytestconfig: pytest.Config) -> Plan:
    """The plan of this run."""
    return pytestconfig.stash[SESSION].plan


@pytest.fixture
def measure(pytestconfig: pytest.Config, benchmark: Any) -> Measure:
    """``measure(case, needs=None)``: run it in a fresh process and give its samples to pytest-benchmark.

    ``unsupported`` skips the test with its reason; any other failure fails it.
    """
    session = pytestconfig.stash[SESSION]

    def measure(case: Case, needs: Case | None = None) -> Measurement:
        late = session.why_left_out(benchmark.fullname)
        if session.plan.sweeps:
            late = late or why_sweep_ended(case, session.engine.outcomes.values())
        if late:
            pytest.skip(late)
        outcome = session.run(benchmark, case, needs)
        if isinstance(outcome, Measurement):
            return outcome
        if outcome.kind == "unsupported":
            pytest.skip(outcome.message)
        pytest.fail(f"{outcome.kind}: {outcome.message}", pytrace=False)

    return measure


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)  # results are published: they tell what a machine is, not whose


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    session = config.stash.get(SESSION, None)
    if session:
        session.keep(output_json)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    bench = session.config.stash.get(SESSION, None)
    if bench and not bench.finish():
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    session = terminalreporter.config.stash.get(SESSION, None)
    for line in session.closing() if session else ():
        terminalreporter.write_line(line)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turns an InputError into pytest's own usage error: one line, exit status 4."""
    try:
        yield
    except InputError as error:
        raise pytest.UsageError(str(error)) from None


def _identifier(row: dict[str, object]) -> str:
    shown = {name: value for name, value in row.items() if (name, value) not in UNSAID}
    return "-".join(ID_FORMATS.get(name, "{}").format(value) for name, value in shown.items())
