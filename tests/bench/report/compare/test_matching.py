from __future__ import annotations

from typing import Any

import pytest

from bench.core.errors import InputError


def kinds(comparison: Any) -> list[str]:
    """Of each pair: in both runs, or in which one."""
    return sorted("both" if pair.both else "old" if pair.old else "new" for pair in comparison.pairs)


def test_repeats_are_one_case(make: Any, compared: Any) -> None:
    comparison = compared([make.inference(repeat=repeat) for repeat in range(3)], [make.inference(repeat=1)])
    assert kinds(comparison) == ["both"]
    old, new = comparison.pairs[0].both
    assert (len(old.measurements), len(new.measurements)) == (3, 1)


def test_another_commit_of_the_code_is_what_one_compares(make: Any, compared: Any) -> None:
    comparison = compared([make.inference()], [make.inference()], new={"fingerprint": "0" * 16, "commit": "abc"})
    assert kinds(comparison) == ["both"]
    assert not comparison.refused


def test_the_same_data_in_another_folder_is_the_same_data(make: Any, compared: Any) -> None:
    elsewhere = "/elsewhere/cifar10-jpeg"
    comparison = compared(
        [make.inference()], [make.inference(dataset=elsewhere)], new={"datasets": [make.dataset(spec=elsewhere)]}
    )
    assert kinds(comparison) == ["both"]
    assert not comparison.refused


def test_an_option_that_only_one_version_knows_makes_no_new_case(make: Any, compared: Any) -> None:
    old = [make.inference(model=model) for model in "ab"]
    new = [make.inference(model=model, options=(("fused", True),)) for model in "ab"]
    assert kinds(compared(old, new)) == ["both", "both"]


@pytest.mark.parametrize("name", ["max_seconds", "test_images"])
def test_how_long_and_on_how_many_a_case_was_measured_makes_no_new_case(make: Any, compared: Any, name: str) -> None:
    old, new = (make.inference(options=((name, value),)) for value in (1, 3))
    assert kinds(compared([old], [new])) == ["both"]


def test_other_settings_are_other_cases(make: Any, compared: Any) -> None:
    shared = make.prefill(prompt=32)
    comparison = compared([shared, make.prefill(prompt=128)], [shared, make.prefill(prompt=256)])
    assert kinds(comparison) == ["both", "new", "old"]


def test_where_several_could_be_meant_none_is(make: Any, compared: Any) -> None:
    shared = make.inference()
    several = [make.inference(model="b", options=(("width", width),)) for width in (1, 2)]
    comparison = compared([shared, make.inference(model="b")], [shared, *several])
    assert kinds(comparison) == ["both", "new", "new", "old"]
    assert kinds(compared([shared, *several], [shared, make.inference(model="b")])) == ["both", "new", "old", "old"]


def test_each_number_of_threads_meets_its_own(make: Any, compared: Any) -> None:
    def of(threads: int, **options: Any) -> Any:
        return make.inference(threads=threads, options=tuple(options.items()))

    comparison = compared([of(1), of(2)], [of(1, fused=True), of(2, fused=True)])
    assert [[entry.case.threads for entry in pair.both] for pair in comparison.pairs] == [[1, 1], [2, 2]]


def test_runs_without_a_common_case_are_refused(make: Any, compared: Any) -> None:
    with pytest.raises(InputError, match="no case in common"):
        compared([make.inference(model="a")], [make.inference(model="b")])
