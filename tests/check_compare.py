"""Does `compare` find what changed, and nothing else? Run on demand: with `quick`, some ten minutes a run.

    python tests/check_compare.py --out /tmp/pairs [--runs 6] [--slowed 1] [--slow NETWORK,RUNTIME,PRECISION,MODE]
        [arguments of pytest: --models resnet14_cifar -k "inference or training"]

Makes so many runs of one state, each in a folder of its own, and compares each with the one before: every regression
is a false one. Then it makes runs in which each call of one route works 10 % longer, and compares them with all of
the others: the rows of that route should be named, and no other. A run whose JSON is there already is not made again.

The longer work is this script's alone: it takes the place of the worker's entry point in the fork server.
Exit status 1 if a pair of one state has a regression, or more than one slowed pair in five misses a row.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.core.records import Case, from_json  # noqa: E402
from bench.core.turns import is_twin  # noqa: E402

MORE = 0.10
"""Share of a call's seconds by which the slowed route works longer."""
OPTION = "--slowed-route"
SHOULD_FIND = 0.8
Route = tuple[str, str, str, str]
"""Network, runtime, precision, mode."""


def pytest_addoption(parser: Any) -> None:
    """Option of this plugin, which the script gives to the runs that it slows."""
    parser.addoption(OPTION, help="network, runtime, precision and mode of the route that works 10 % longer")


def pytest_configure(config: Any) -> None:
    """Start workers at `slowed_main`."""
    from bench.run import worker

    route = config.getoption(OPTION)
    if route:
        worker.main = functools.partial(slowed_main, route_of(route))


def slowed_main(route: Route, connection: Any, request: dict[str, Any]) -> None:
    """Entry point of a worker whose steps are slowed if its case is of ``route``."""
    from bench.run.worker import main

    case = from_json(Case, request["case"]) if "case" in request else None
    if case and case.experiment in TIMED and is_of(case, route):
        slow_down(case.experiment)
    main(connection, request)


def slow_down(experiment: str) -> None:
    """Let every step of ``experiment`` that this process times take longer. No other experiment is imported for it."""
    name, timing, lengthen = TIMED[experiment]
    module = importlib.import_module(f"bench.experiments.{name}")
    timed = getattr(module, timing)
    setattr(module, timing, lambda step, *rest, **named: timed(lengthen(step), *rest, **named))


def longer(step: Callable[[], Any]) -> Callable[[], Any]:
    """``step`` with more work after each call: it keeps a core busy for a share of the call's seconds."""

    def lengthened() -> Any:
        begin = time.perf_counter()
        result = step()
        _work(MORE * (time.perf_counter() - begin))
        return result

    return lengthened


def longer_samples(step: Callable[[], Sequence[float]]) -> Callable[[], Sequence[float]]:
    """``step``, which times itself, with more work for each of its samples."""

    def lengthened() -> Sequence[float]:
        own = step()
        _work(MORE * sum(own))
        return [(1 + MORE) * seconds for seconds in own]

    return lengthened


def _work(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


TIMED: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "inference": ("inference", "timed", longer),
    "layers": ("layers", "timed", longer),
    "prefill": ("language.generation", "samples_of", longer_samples),
    "decode": ("language.decode", "samples_of", longer_samples),
}
"""Experiment -> its module, the function by which it times a step, and what makes such a step longer."""


def route_of(text: str) -> Route:
    """The route of ``NETWORK,RUNTIME,PRECISION,MODE``.

    Raises:
        ValueError: it has not four parts.
    """
    network, runtime, precision, mode = text.split(",")
    return network, runtime, precision, mode


def is_of(case: Case, route: Route) -> bool:
    return (case.model, case.runtime, case.precision, case.mode) == route and not is_twin(case)


def has(result: Path, route: Route) -> bool:
    """True if the run measured a row of ``route``."""
    rows = json.loads(result.read_text())["benchmarks"]
    return any(is_of(from_json(Case, row["extra_info"]["case"]), route) for row in rows)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Result of comparing two runs."""

    name: str
    verdict: str
    worse: frozenset[str]
    """Everything that became worse, as ``row: what``."""
    named: frozenset[str]
    """Rows whose speed became worse."""
    expected: frozenset[str] = frozenset()
    """Rows that were slowed and that both runs timed."""

    @property
    def right(self) -> bool:
        """True if all slowed rows are named, and no other."""
        return self.named == self.expected

    def line(self) -> str:
        missed, wrong = sorted(self.expected - self.named), sorted(self.named - self.expected)
        others = sorted(self.worse - {f"{row}: speed" for row in self.named})
        parts = [f"{len(self.worse)} regressions"]
        parts += [f"named {len(self.expected) - len(missed)} of {len(self.expected)}"] if self.expected else []
        parts += [f"missed {', '.join(missed)}"] if missed else []
        parts += [f"wrongly named {', '.join(wrong)}"] if wrong else []
        parts += [f"other regressions {', '.join(others)}"] if others else []
        return f"{self.name}: {'; '.join(parts)}. {self.verdict}"


def compared(old: Path, new: Path, route: Route | None = None) -> Found:
    """Result of `compare`; with the rows of ``route``, if that was slowed in ``new``."""
    from bench.report.compare.comparison import compare
    from bench.report.compare.ratios import RatioChange
    from bench.report.compare.times import TimeChange

    comparison = compare(old, new)
    if comparison.refused:
        raise SystemExit(f"{old} and {new}: {comparison.verdict}")
    speeds: list[RatioChange | TimeChange] = [*comparison.ratios, *comparison.judged_times]
    named = frozenset(item.pair.case.name for item in speeds if item.outcome == "worse")
    others = [
        *(f"{item.pair.case.name}: {item.name}" for item in comparison.peaks if item.outcome == "worse"),
        *(f"{item.pair.case.name}: {item.name}" for item in comparison.exact if item.outcome == "worse"),
        *(f"{item.pair.case.name}: quality" for item in comparison.quality if item.outcome == "worse"),
        *(f"{one.pair.case.name}: fails" for one in comparison.transitions if one.change == "newly failing"),
    ]
    cases = [item.pair.case for item in speeds if item.pair.case.experiment in TIMED]
    slowed = [case for case in cases if route and is_of(case, route)]
    return Found(
        name=f"{old.parent.name} and {new.parent.name}",
        verdict=comparison.verdict,
        worse=frozenset([*(f"{row}: speed" for row in named), *others]),
        named=named,
        expected=frozenset(case.name for case in slowed),
    )


def run(folder: Path, arguments: Sequence[str], slowed: str | None = None) -> Path:
    """The JSON of a run of the suite in ``folder``, made now unless it is there."""
    result = folder / "run.json"
    if result.exists():
        return result
    folder.mkdir(parents=True, exist_ok=True)
    plugin = ["-p", "tests.check_compare", OPTION, slowed] if slowed else []
    command = [sys.executable, "-m", "pytest", "bench", "-q", "--benchmark-json", str(result), "--benchmark-quiet"]
    begin = time.monotonic()
    with (folder / "pytest.txt").open("wb") as output:
        status = subprocess.run(
            [*command, *plugin, *arguments], cwd=ROOT, stdout=output, stderr=output, check=False
        ).returncode
    print(f"{folder.name}: {time.monotonic() - begin:.0f} s, pytest ended with {status}", flush=True)
    if not result.exists():
        raise SystemExit(f"no {result}: see {folder / 'pytest.txt'}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--runs", type=int, default=6, help="runs of one state")
    parser.add_argument("--slowed", type=int, default=1, help="runs in which one route is slowed")
    parser.add_argument("--slow", default="resnet18_cifar,openvino,int8_static,native", help="that route")
    given, arguments = parser.parse_known_args()
    if given.runs < 2:
        parser.error(f"--runs {given.runs} gives no pair: give 2 or more")
    try:
        route = route_of(given.slow)
    except ValueError:
        parser.error(f"--slow {given.slow} is no NETWORK,RUNTIME,PRECISION,MODE")
    sound = [run(given.out.resolve() / f"sound{number}", arguments) for number in range(given.runs)]
    same = [compared(*pair) for pair in itertools.pairwise(sound)]
    for found in same:
        print(found.line(), flush=True)
    if not has(sound[0], route):
        raise SystemExit(f"--slow {given.slow}: no row of it was measured in {sound[0]}; name one that was")
    slowed = [run(given.out.resolve() / f"slowed{number}", arguments, given.slow) for number in range(given.slowed)]
    later = [compared(old, new, route) for new in slowed for old in sound]
    for found in later:
        print(found.line(), flush=True)
    clean, right = sum(not found.worse for found in same), sum(found.right for found in later)
    print(f"no regression in {clean} of {len(same)} pairs of one state")
    print(f"{MORE:.0%} more work: named, and nothing else, in {right} of {len(later)} pairs")
    return 0 if clean == len(same) and right >= SHOULD_FIND * len(later) else 1


if __name__ == "__main__":
    sys.exit(main())
