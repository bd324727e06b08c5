"""Work of others is what the busy cores did beyond this process and its descendants."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core import other_work
from bench.core.other_work import (
    PATIENCE_SECONDS,
    POLL_SECONDS,
    CpuTimes,
    OtherWork,
    cpu_times,
    disturbing_cores,
    foreign_cores,
)

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two usable cores and one that is not; a child that has a child of its own."""
    monkeypatch.setattr(other_work, "PROC", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\n"
        "cpu0 100 20 30 5000 700 1 2 4 50 0\n"  # 157 busy: neither idle, nor iowait, nor guests, who are in user
        "cpu1 200 0 0 5000 0 0 0 0 0 0\n"
        "cpu2 9999 0 0 0 0 0 0 0 0 0\n"
    )
    for pid, child, ticks in (("self", "41", 0), ("41", "42", 5), ("42", "", 7)):
        children = tmp_path / pid / "task" / pid / "children"
        children.parent.mkdir(parents=True)
        children.write_text(child)
        stat = f"1 (odd ) name) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 1 2 3 20 0"
        (tmp_path / pid / "stat").write_text(stat)
    return tmp_path


def test_only_usable_cores_are_counted(proc: Path) -> None:
    found = cpu_times()
    assert found is not None
    assert found.busy == pytest.approx((157 + 200) / TICKS)


def test_children_and_theirs_are_our_own(proc: Path) -> None:
    before = time.process_time() + sum(os.times()[2:4])
    found = cpu_times()
    assert found is not None
    assert found.own == pytest.approx(before + (5 + 7 + 2 * (1 + 2 + 3)) / TICKS, abs=0.02)


def test_no_book_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_work, "PROC", tmp_path / "nowhere")
    assert cpu_times() is None


def test_cores_of_others_are_what_is_left() -> None:
    before = CpuTimes(at=10.0, busy=100.0, own=50.0)
    assert foreign_cores(before, CpuTimes(at=12.0, busy=104.0, own=51.0)) == 1.5
    assert foreign_cores(before, CpuTimes(at=12.0, busy=101.0, own=52.0)) == 0.0  # ticks are coarse: not below none


def test_idle_cores_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_work, "usable_cores", lambda: 4)
    before, after = CpuTimes(at=10.0, busy=100.0, own=50.0), CpuTimes(at=12.0, busy=106.0, own=51.0)  # 2.5 of others
    assert [disturbing_cores(before, after, needed) for needed in (4, 3, 2, 1)] == [2.5, 1.5, 0.5, 0.0]
    assert disturbing_cores(before, None, 4) == 0.0


def test_our_own_work_is_not_that_of_others() -> None:
    """A child of ours that works for half a second is no other process."""
    before = cpu_times()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    after = cpu_times()
    assert before is not None
    assert after is not None
    assert after.own - before.own >= 0.5 - 2 / TICKS  # each reading is a tick off at most


class Neighbour:
    """A machine of two cores on which others keep one busy at times; it has a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, busy: Callable[[float], bool]) -> None:
        self.now, self.used, self.busy = 0.0, 0.0, busy
        monkeypatch.setattr(other_work.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(other_work.time, "sleep", self.work)
        monkeypatch.setattr(other_work, "usable_cores", lambda: 2)
        monkeypatch.setattr(other_work, "cpu_times", lambda: CpuTimes(at=self.now, busy=self.used, own=0.0))

    def work(self, seconds: float) -> None:
        self.used += seconds if self.busy(self.now) else 0.0
        self.now += seconds


def test_it_waits_until_others_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour = Neighbour(monkeypatch, busy=lambda now: now < 4.0)
    others = OtherWork()
    neighbour.work(1.0)
    assert others.look(2)
    assert others.wait(60.0, 2) == pytest.approx(3.0 + POLL_SECONDS)
    neighbour.work(1.0)
    assert not others.look(2)


def test_waits_in_vain_become_shorter_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour = Neighbour(monkeypatch, busy=lambda now: True)
    others = OtherWork()
    assert others.wait(60.0, 2) == pytest.approx(PATIENCE_SECONDS)
    assert others.wait(60.0, 2) == pytest.approx(PATIENCE_SECONDS / 2, abs=POLL_SECONDS)
    while others.patient:
        others.wait(60.0, 2)
    assert neighbour.now < 2 * PATIENCE_SECONDS
    assert others.wait(60.0, 2) == 0.0
    neighbour.busy = lambda now: False
    neighbour.work(1.0)
    assert not others.look(2)
    assert others.patient


def test_others_may_have_the_cores_that_a_route_leaves_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour = Neighbour(monkeypatch, busy=lambda now: True)
    others = OtherWork()
    neighbour.work(1.0)
    assert not others.look(1)
    neighbour.work(1.0)
    assert others.look(2)


def test_a_wait_is_no_longer_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    Neighbour(monkeypatch, busy=lambda now: True)
    assert OtherWork().wait(1.0, 2) == pytest.approx(1.0)
    assert OtherWork().wait(0.1, 2) == 0.0


def test_without_readings_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_work, "cpu_times", lambda: None)
    others = OtherWork()
    assert not others.look(2)
    assert not others.due
