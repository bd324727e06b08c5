from __future__ import annotations

from typing import Any

import pytest


def changes(comparison: Any) -> dict[str, str]:
    return {item.pair.case.model: item.change for item in comparison.transitions}


def test_new_and_vanished_cases_are_named_and_no_regression(make: Any, compared: Any) -> None:
    stays = make.inference()
    comparison = compared([stays, make.inference(model="gone")], [stays, make.inference(model="came")])
    assert changes(comparison) == {"gone": "vanished", "came": "new"}
    assert comparison.status == 0


@pytest.mark.parametrize("kind", ["crashed", "out_of_memory", "unsupported"])
def test_what_ran_and_fails_is_a_regression(make: Any, compared: Any, kind: Any) -> None:
    ran, fails = [make.inference(), make.inference(model="other")], make.failure(kind, "why", model="other")
    comparison = compared(ran, [ran[0], fails])
    assert changes(comparison) == {"other": "newly failing"}
    assert comparison.status == 1
    back = compared([ran[0], fails], ran)
    assert changes(back) == {"other": "newly working"}
    assert back.status == 0


def test_one_process_of_many_that_fails_is_a_regression(make: Any, compared: Any) -> None:
    ran = [make.inference(repeat=repeat) for repeat in range(5)]
    fails = make.failure("crashed", "why", repeat=4)
    assert changes(compared(ran, [*ran[:4], fails])) == {"cnn_small": "newly failing"}
    assert changes(compared([*ran[:4], fails], [fails])) == {"cnn_small": "newly failing"}
    assert changes(compared([*ran[:4], fails], [*ran[:4], fails])) == {}


@pytest.mark.parametrize(("before", "after"), [((0,), range(1, 10)), ((0,), (0, 1)), ((0, 1), (1, 2))])
def test_a_process_that_ran_and_fails_is_a_regression_beside_those_that_failed_before(
    make: Any, compared: Any, before: Any, after: Any
) -> None:
    def run(failed: Any) -> list[Any]:
        return [
            make.failure("crashed", "why", repeat=repeat) if repeat in failed else make.inference(repeat=repeat)
            for repeat in range(10)
        ]

    comparison = compared(run(before), run(after))
    assert changes(comparison) == {"cnn_small": "newly failing"}
    assert comparison.status == 1


def test_fewer_failing_processes_are_no_regression(make: Any, compared: Any) -> None:
    failed = [make.failure("crashed", "why", repeat=repeat) for repeat in range(3)]
    ran = [make.inference(repeat=repeat) for repeat in range(1, 4)]
    assert changes(compared([*failed, ran[2]], [failed[0], *ran])) == {}


def test_what_never_ran_is_no_regression(make: Any, compared: Any) -> None:
    stays, fails = make.inference(), make.failure("error", "why", model="other")
    assert compared([stays, fails], [stays, fails]).transitions == ()
    assert changes(compared([stays], [stays, fails])) == {"other": "new"}
    otherwise = compared([stays, fails], [stays, make.failure("crashed", "why", model="other")])
    assert changes(otherwise) == {"other": "failing otherwise"}
    assert otherwise.status == 0
