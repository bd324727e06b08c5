"""What the scripts that are run on demand decide by, without running them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.records import Case
from bench.report.compare import times
from tests import check_kills, check_noise

NAMES = [f"{model} b{size}" for model, size in check_noise.SHORT]


class Stopped(Exception):
    """What ends a recording in the middle."""


def one(case: Case) -> float:
    return 1.0


def block(seconds: float, processes: int = 10, seed: int = 0) -> check_noise.Block:
    chance = random.Random(seed)
    return check_noise.Block(
        medians={name: tuple(chance.gauss(seconds, seconds / 100) for _ in range(processes)) for name in NAMES}
    )


def test_a_stopped_recording_of_noise_goes_on_after_its_last_whole_repeat(tmp_path: Path) -> None:
    file, measured = tmp_path / "pool.json", list[Case]()

    def stopping(case: Case) -> float:
        if len(measured) == 7:
            raise Stopped
        measured.append(case)
        return float(len(measured))

    with pytest.raises(Stopped):
        check_noise.record(stopping, file, 4, "quick")
    assert json.loads(file.read_text()) == {name: [index + 1.0, index + 4.0] for index, name in enumerate(NAMES)}
    measured.clear()

    def going_on(case: Case) -> float:
        measured.append(case)
        return 1.0

    pool = check_noise.record(going_on, file, 4, "quick")
    assert [case.repeat for case in measured] == [2, 2, 2, 3, 3, 3]
    assert {name: values[:2] for name, values in pool.items()} == {
        name: [index + 1.0, index + 4.0] for index, name in enumerate(NAMES)
    }
    assert json.loads(file.read_text()) == pool


def test_a_whole_pool_of_noise_is_not_measured_again(tmp_path: Path) -> None:
    pool = check_noise.record(one, tmp_path / "pool.json", 3, "quick")

    def never(case: Case) -> float:
        raise Stopped

    assert check_noise.record(never, tmp_path / "pool.json", 3, "quick") == pool == dict.fromkeys(NAMES, [1.0] * 3)


def test_verdicts_on_noise_are_those_of_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = block(0.01), block(0.01, seed=1)
    assert check_noise.verdicts(old, new) == {}
    assert check_noise.verdicts(old, new.slowed(NAMES[1])) == {NAMES[1]: "worse"}
    assert check_noise.verdicts(old.slowed(NAMES[1]), new) == {NAMES[1]: "better"}
    monkeypatch.setattr(times, "ALPHA", 0.0)
    assert check_noise.verdicts(old, new.slowed(NAMES[1])) == {}


@pytest.mark.parametrize("sides", ["4,5", "5,51"])
def test_sides_of_which_nothing_could_be_told_are_refused(
    sides: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["check_noise.py", "--folder", str(tmp_path), "--sides", sides])
    with pytest.raises(SystemExit):
        check_noise.main()
    assert "--sides: give numbers from 5" in capsys.readouterr().err


def test_a_process_that_is_gone_takes_no_blow() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:  # which waits for it, and closes its input
        assert check_kills.killed(process.pid)
    assert not check_kills.killed(process.pid)
