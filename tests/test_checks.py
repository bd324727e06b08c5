"""What the scripts that are run on demand decide by, without running them."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import Case, DeviceState, Measurement
from bench.report.compare import times
from tests import check_kills, check_noise

NAMES = [f"{model} b{size}" for model, size in check_noise.SHORT]


class Stopped(Exception):
    """What ends a recording in the middle."""


def process(seconds: float, case: Case | None = None, reference: float = 1e-6) -> Measurement:
    """One that took as long in the median, while the reference work took ``reference`` seconds."""
    state = DeviceState(at=0.0, reference_seconds=reference)
    return Measurement(
        case=case or check_noise.case_of("cnn_small", 1, "quick", 0), seconds=(seconds,), device_state=(state,)
    )


def one(case: Case) -> Measurement:
    return process(1.0, case)


def block(seconds: float, processes: int = 10, seed: int = 0, reference: float = 1e-6) -> check_noise.Block:
    chance = random.Random(seed)
    return check_noise.Block(
        processes={
            name: [process(chance.gauss(seconds, seconds / 100), reference=reference) for _ in range(processes)]
            for name in NAMES
        }
    )


def seconds_of(pool: check_noise.Pool) -> dict[str, list[float]]:
    return {name: [each.seconds[0] for each in some] for name, some in pool.items()}


def never(case: Case) -> Measurement:
    raise Stopped


def test_a_stopped_recording_of_noise_goes_on_after_its_last_whole_repeat(tmp_path: Path) -> None:
    file, measured = tmp_path / "pool.json", list[Case]()

    def stopping(case: Case) -> Measurement:
        if len(measured) == 7:
            raise Stopped
        measured.append(case)
        return process(float(len(measured)), case)

    with pytest.raises(Stopped):
        check_noise.record(stopping, file, 4, "quick")
    measured.clear()

    def going_on(case: Case) -> Measurement:
        measured.append(case)
        return one(case)

    pool = check_noise.record(going_on, file, 4, "quick")
    assert [case.repeat for case in measured] == [2, 2, 2, 3, 3, 3]
    assert seconds_of(pool) == {name: [index + 1.0, index + 4.0, 1.0, 1.0] for index, name in enumerate(NAMES)}
    assert check_noise.record(never, file, 4, "quick") == pool


def test_a_whole_pool_of_noise_is_not_measured_again(tmp_path: Path) -> None:
    pool = check_noise.record(one, tmp_path / "pool.json", 3, "quick")

    assert check_noise.record(never, tmp_path / "pool.json", 3, "quick") == pool
    assert seconds_of(pool) == dict.fromkeys(NAMES, [1.0] * 3)


def test_verdicts_on_noise_are_those_of_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = block(0.01), block(0.01, seed=1)
    assert check_noise.verdicts(old, new) == {}
    assert check_noise.verdicts(old, new.slowed(NAMES[1])) == {NAMES[1]: "worse"}
    assert check_noise.verdicts(old.slowed(NAMES[1]), new) == {NAMES[1]: "better"}
    assert check_noise.verdicts(old, block(0.014, seed=1, reference=1.4e-6)) == {}  # the machine was slower
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
