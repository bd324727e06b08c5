"""Minutes of a run: time limits, late tests, and what the JSON says of what was left out."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bench.core.records import Case, Failure
from bench.plan.minutes import Wanted
from bench.run.minutes import END_SECONDS, LEAST_SECONDS, Minutes

CASE = Case(
    experiment="inference", model="a", dataset="mnist5k", image_size=32, device="cpu", threads=2, budget="quick"
)


def minutes(*, left: float, waiting: tuple[Wanted, ...] = ()) -> Minutes:
    """A run of three minutes with ``left`` seconds until its last case has to be finished."""
    engine: Any = SimpleNamespace(
        begun=time.monotonic() - 180 + END_SECONDS + left, case_seconds={CASE.id: 7.0}, outcomes={}
    )
    plan: Any = None
    return Minutes(asked=3, plan=plan, engine=engine, waiting={one.test: one for one in waiting})


def wanted(name: str, seconds: float, batch: int = 1) -> Wanted:
    params = {"model": "a", "image_size": 32, "batch_size": batch}
    return Wanted(test=name, experiment="inference", params=params, seconds=seconds)


def test_no_case_may_go_on_after_the_end() -> None:
    assert minutes(left=100).limit(30) == 30
    assert minutes(left=20).limit(30) == pytest.approx(20, abs=1)
    assert minutes(left=-50).limit(30) == LEAST_SECONDS


def test_a_set_loses_its_last_cases_until_it_fits() -> None:
    three = (wanted("first", 10), wanted("second", 10), wanted("third", 10))
    other = wanted("other", 1, batch=32)
    run = minutes(left=25, waiting=(*three, other))
    assert run.late("first") == ("third",)
    assert set(run.left_out) == {"third"}
    assert run.why_not("first") is None
    run.engine.begun -= 100  # the set took longer than there was time, and gave the others their results
    assert run.late("second") == ()
    assert run.late("other") == ("other",)
    assert run.why_not("third") == f"left out: {run.left_out['third'].reason}"


def test_a_test_that_comes_too_late_is_left_out_with_its_seconds() -> None:
    run = minutes(left=5, waiting=(wanted("late", 10),))
    assert run.late("late") == ("late",)
    [found] = run.facts()["left_out"]
    assert (found["test"], found["seconds"]) == ("late", 10)
    assert "5 s were left" in found["reason"]
    [line] = run.closing(["bench", "--minutes", "3"])
    assert line.endswith("pytest bench --minutes 3 --resume")


def test_a_case_that_the_end_cut_off_is_no_failure() -> None:
    timed_out = Failure(case=CASE, kind="timed_out", message="no answer")
    run = minutes(left=-1)
    assert run.cut_off("cut", timed_out)
    assert run.left_out["cut"].seconds == 7.0
    assert not minutes(left=50).cut_off("cut", timed_out)
    assert not minutes(left=-1).cut_off("cut", Failure(case=CASE, kind="crashed", message="signal"))


def test_a_reference_whose_rivals_do_not_fit_any_more_is_left_out_with_them() -> None:
    rival = replace(wanted("rival", 10), params={**wanted("rival", 10).params, "precision": "bf16"})
    run = minutes(left=15, waiting=(wanted("reference", 10), rival))
    assert run.late("reference") == ("rival", "reference")
    assert minutes(left=25, waiting=(wanted("reference", 10), rival)).late("reference") == ()


def test_a_test_whose_training_was_cut_off_is_left_out_and_not_run_untrained() -> None:
    timed_out = Failure(case=CASE, kind="timed_out", message="no answer")
    run = minutes(left=-1)
    run.engine.trained = lambda training: timed_out  # type: ignore[method-assign]
    run.engine.outcomes[CASE.id] = timed_out
    assert run.untrained("test", CASE)
    assert set(run.left_out) == {"test"}
    assert not run.engine.outcomes
    assert not run.untrained("other", None)
