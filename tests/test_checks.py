"""Decision rules of the scripts that are run on demand, without running them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.core.records import Case
from tests import check_compare, check_kills, check_turns


def pool(ratio: float, sets: int, seed: int) -> check_turns.Pool:
    noise = np.random.default_rng(seed).normal(0.0, 0.002, sets)
    return (ratio * np.exp(noise)).tolist()  # type: ignore[no-any-return]


def test_a_delay_is_called_and_the_same_is_not() -> None:
    found = check_turns.trials(pool(1.0, 60, 1), pool(1 / 1.05, 60, 2), 6)
    count = check_turns.DRAWS
    assert (len(found.same), len(found.delayed), found.blocks) == (count, count, 10)
    assert (found.near, found.called, found.seen) == (count, 0, count)
    assert found.covered >= 0.93 * 2 * count
    assert found.good


def test_a_machine_that_sets_twins_apart_is_not_good() -> None:
    found = check_turns.trials(pool(1.05, 12, 1), pool(1.0, 12, 2), 6)
    assert (found.near, found.called, found.seen) == (0, len(found.same), 0)
    assert not found.good


def test_a_ratio_near_one_is_not_called_however_certain() -> None:
    found = check_turns.trials(pool(1.008, 60, 1), pool(1.0, 60, 2), 12)
    assert found.called == 0


def test_few_sets_give_every_trial_that_there_is() -> None:
    found = check_turns.trials(pool(1.0, 6, 1), pool(1.0, 6, 2), 3)
    assert (len(found.same), found.blocks) == (20, 2)


def test_a_trial_has_the_common_spread_of_the_sets_that_were_not_drawn() -> None:
    found = check_turns.trials(pool(1.0, 60, 1), pool(1 / 1.05, 60, 2), 3)
    spreads = [ratio.common.variance**0.5 for ratio in found.same if ratio.common]
    assert len(spreads) == len(found.same)
    assert 0.0015 < np.median(spreads) < 0.0025
    assert found.covered >= 0.93 * 2 * len(found.same)
    few = check_turns.trials(pool(1.0, 6, 1), pool(1.0, 6, 2), 3)
    assert {ratio.common for ratio in few.same} == {None}


def test_a_kept_pool_gives_its_rates_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "pools.json"
    kept.write_text(json.dumps({"quiet": [pool(1.0, 12, 1), pool(1 / 1.05, 12, 2)]}))
    monkeypatch.setattr(sys, "argv", ["check_turns.py", "--pools", str(kept)])
    assert check_turns.main() == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(",")[:2] for line in printed] == [["quiet", f" {sets} sets"] for sets in (3, 6, 12)]
    assert "5% delay called 100.0%" in printed[0]


def test_wilson_interval_of_a_share() -> None:
    assert check_turns.share(0.9, 20) == "90.0% (70% to 97%)"  # Wilson 1927: 18 of 20


def test_fewer_sets_than_a_trial_needs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check_turns.py", "--folder", str(tmp_path), "--sets", "2"])
    with pytest.raises(SystemExit):
        check_turns.main()
    assert "--sets 2 is below 3" in capsys.readouterr().err


def test_a_process_that_is_gone_takes_no_blow() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:  # which waits for it, and closes its input
        assert check_kills.killed(process.pid)
    assert not check_kills.killed(process.pid)


def test_a_slowed_step_works_a_tenth_longer() -> None:
    def step() -> str:
        time.sleep(0.05)
        return "result"

    begin = time.perf_counter()
    assert check_compare.longer(step)() == "result"
    assert time.perf_counter() - begin > 0.05 * 1.09
    assert check_compare.longer_samples(lambda: (0.01, 0.02))() == pytest.approx([0.011, 0.022])


def test_the_slowed_route_is_not_its_twin() -> None:
    fields = {"experiment": "inference", "dataset": "mnist5k", "image_size": 32, "device": "cpu", "threads": 1}
    case = Case(model="cnn_small", budget="quick", **fields)  # type: ignore[arg-type]
    twin = Case(model="cnn_small", budget="quick", options=(("twin", True),), **fields)  # type: ignore[arg-type]
    route = check_compare.route_of("cnn_small,torch,fp32,eager")
    assert check_compare.is_of(case, route)
    assert not check_compare.is_of(twin, route)
    assert not check_compare.is_of(case, check_compare.route_of("cnn_small,torch,fp32,compiled"))


def test_another_row_that_is_named_is_no_find() -> None:
    found = check_compare.Found(
        name="a and b",
        verdict="",
        worse=frozenset({"x: speed", "y: speed", "z: steady peak, rss"}),
        named=frozenset({"x", "y"}),
        expected=frozenset({"x", "w"}),
    )
    assert not found.right
    assert found.line().startswith(
        "a and b: 3 regressions; named 1 of 2; missed w; wrongly named y; other regressions z: steady peak, rss."
    )
