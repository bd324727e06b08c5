"""pytest glue of the benchmark cases: options, the ``plan`` and ``measure`` fixtures, hooks into pytest-benchmark.

Nothing here imports torch: cases run in processes of their own, see ``bench/run``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.records import Case, Measurement
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
"""How a parameter reads in a test's name where its bare value would not tell what it is."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("halfbyte", "what the benchmark cases measure")
    add = group.addoption
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, CUDA if there)")
    add("--dataset", default="auto", help="auto, mnist5k, cifar10, a folder with train/ and test/, or FILE.py:callable")
    add("--data-dir", default="data", help="folder for data sets (default: data)")
    add("--budget", help="smoke, quick or full (default: full on CUDA, quick on CPU)")
    add(
        "--models",
        help="names with commas between, FILE.py:callable or package.module:callable (default: the budget's)",
    )
    add(
        "--llm",
        help="language models with commas between: names, hub ids (OWNER/NAME) or folders (default: the budget's, "
        "smollm2-135m; none where --models is given)",
    )
    add("--text", default="auto", help="python-topics, wikitext-2 or a file: what prompts and perplexity come from")
    add("--prompt-tokens", help="lengths of prompts with commas between, decode goes on from the shortest")
    add(
        "--new-tokens", type=int, help="tokens of a timed generation, and the most of an answer (default: the budget's)"
    )
    add("--text-tokens", type=int, help="tokens of the text that perplexity is judged on (default: the budget's)")
    add("--weights", help="trained weights of the one network that --models names; nothing is trained then")
    add("--imagenet-weights", help="folder with torchvision's vgg16-*.pth, resnet18-*.pth (default: torch's downloads)")
    add("--classes", type=int, help="classes of your own network (default: the data set's)")
    add("--image-size", type=int, help="side in pixels of the images given to the networks (default: their own)")
    add("--normalize", help="what your weights were trained with: M,M,M/S,S,S, means and standard deviations")
    add("--precisions", help="names with commas between (default: the budget's)")
    add("--modes", help="eager, compiled (default: the budget's)")
    add("--batch-sizes", help="whole numbers with commas between (default: the budget's)")
    add("--seeds", help="whole numbers with commas between, one training each (default: the budget's)")
    add("--train-images", type=int, help="images that each training sees, all epochs together (default: the budget's)")
    add("--test-images", type=int, help="test images that judge accuracy, the first so many (default: the budget's)")
    add(
        "--repeats",
        type=int,
        help="sets of fresh processes that take turns (default: the budget's)",
    )
    add("--threads", type=int, help="threads that torch uses on the CPU (default: the cores there are)")
    add("--track", help="curves of trainings: tensorboard, wandb (with commas between) or none (default: tensorboard)")
    add("--profile", action="store_true", help="trace each case once, after it was timed, into results/profiles/")
    add("--isolation", choices=("process", "none"), default="process", help="none runs cases in pytest, for a debugger")
    add("--case-timeout", type=float, help="seconds after which a case is ended (default: the budget's)")
    add("--resume", action="store_true", help="take finished cases of the same code, machine and data from the journal")


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


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    bench = session.config.stash.get(SESSION, None)
    if bench and not session.config.option.collectonly and not session.testsfailed:
        with usage_errors():
            bench.prepare(session.items)


@pytest.fixture
def plan(pytestconfig: pytest.Config) -> Plan:
    """What this run measures."""
    return pytestconfig.stash[SESSION].plan


@pytest.fixture
def measure(pytestconfig: pytest.Config, benchmark: Any) -> Measure:
    """``measure(case, needs=None)``: run it in a fresh process and give its samples to pytest-benchmark.

    ``unsupported`` skips the test with its reason; any other failure fails it.
    """
    session = pytestconfig.stash[SESSION]

    def measure(case: Case, needs: Case | None = None) -> Measurement:
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
    shown = {name: value for name, value in row.items() if name != "twin" or value}
    return "-".join(ID_FORMATS.get(name, "{}").format(value) for name, value in shown.items())
