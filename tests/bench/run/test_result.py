"""Samples reach pytest-benchmark's JSON exactly as they were taken, through its public interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.run.result import ReplayClock

pytest_plugins = ["pytester"]

SAMPLES = [0.1, 0.3, 1e-9, 123.456, 0.1 + 0.2]
MODULE = f"""
import pytest
from bench.run.result import ReplayClock

clock = ReplayClock()

@pytest.mark.benchmark(timer=clock, group="g")
def test_replays(benchmark):
    clock.replay(benchmark, {SAMPLES!r})

@pytest.mark.benchmark(timer=clock)
def test_direct(benchmark):
    benchmark(lambda: None)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", root)
    pytester.makepyfile(test_module=MODULE)

    def run(*options: str) -> Any:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run


def test_samples_are_stored_exactly(run: Any, pytester: pytest.Pytester) -> None:
    run("-k", "replays", "--benchmark-json", "out.json").assert_outcomes(passed=1)
    stored = json.loads((pytester.path / "out.json").read_text())["benchmarks"][0]
    assert stored["stats"]["data"] == SAMPLES
    assert stored["stats"]["max"] == max(SAMPLES)
    assert stored["group"] == "g"


@pytest.mark.parametrize("option", ["--benchmark-disable", "--benchmark-cprofile=cumtime", "--benchmark-min-rounds=50"])
def test_other_options_neither_hang_nor_run_out(run: Any, option: str) -> None:
    run("-k", "replays", option).assert_outcomes(passed=1)


def test_direct_use_is_refused_instead_of_looping(run: Any) -> None:
    result = run("-k", "direct")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*cases are measured by `measure(case)`*"])


def test_clock_runs_only_while_replaying() -> None:
    with pytest.raises(RuntimeError, match="measure"):
        ReplayClock()()
