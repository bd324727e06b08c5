"""Decision rules of the scripts that are run on demand, without running them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import check_kills, check_turns


def rounds(ratio: float, sets: int, seed: int) -> check_turns.Rounds:
    noise = np.random.default_rng(seed).normal(0.0, 0.005, (sets, 10))
    return (ratio * np.exp(noise)).tolist()  # type: ignore[no-any-return]


def test_a_delay_is_called_and_the_same_is_not() -> None:
    found = check_turns.trials(rounds(1.0, 60, 1), rounds(1 / 1.05, 60, 2), 6)
    count = check_turns.DRAWS
    assert (len(found.same), len(found.delayed), found.blocks) == (count, count, 10)
    assert (found.near, found.called, found.seen) == (count, 0, count)
    assert found.covered >= 0.93 * 2 * count
    assert found.good


def test_a_machine_that_sets_twins_apart_is_not_good() -> None:
    found = check_turns.trials(rounds(1.05, 12, 1), rounds(1.0, 12, 2), 6)
    assert (found.near, found.called, found.seen) == (0, len(found.same), 0)
    assert not found.good


def test_a_ratio_near_one_is_not_called_however_certain() -> None:
    found = check_turns.trials(rounds(1.008, 60, 1), rounds(1.0, 60, 2), 12)
    assert found.called == 0


def test_few_sets_give_every_trial_that_there_is() -> None:
    found = check_turns.trials(rounds(1.0, 6, 1), rounds(1.0, 6, 2), 3)
    assert (len(found.same), found.blocks) == (20, 2)


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
