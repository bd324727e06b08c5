from __future__ import annotations

import numpy as np
import pytest

from bench.data.known import hold_out


def test_every_class_gives_its_share_and_every_image_is_on_one_side() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    kept, held_out = hold_out(labels, 20)
    assert np.bincount(labels[held_out]).tolist() == [12, 6, 2]
    assert sorted([*kept, *held_out]) == list(range(100))


def test_remainders_make_up_the_exact_number() -> None:
    labels = np.repeat([0, 1, 2], [7, 7, 7])
    _, held_out = hold_out(labels, 5)
    assert len(held_out) == 5
    assert sorted(np.bincount(labels[held_out]).tolist()) == [1, 2, 2]


def test_the_split_is_the_same_every_time_and_spread_over_a_class() -> None:
    labels = np.zeros(100, np.int64)
    _, held_out = hold_out(labels, 4)
    assert held_out.tolist() == hold_out(labels, 4)[1].tolist() == [12, 37, 62, 87]


@pytest.mark.parametrize(("count", "sizes"), [(0, (10, 0)), (10, (0, 10))])
def test_none_and_all(count: int, sizes: tuple[int, int]) -> None:
    kept, held_out = hold_out(np.arange(10) % 3, count)
    assert (len(kept), len(held_out)) == sizes


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="set 4 of 3 images aside"):
        hold_out(np.zeros(3, np.int64), 4)
