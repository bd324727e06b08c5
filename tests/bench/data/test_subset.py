from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import Unsupported
from bench.data.images import ImageDataset, load_dataset
from bench.data.subset import half_of


def test_the_halves_share_no_class_and_leave_nothing_out(tmp_path: Path) -> None:
    whole = load_dataset("mnist5k", data_dir=tmp_path, progress=lambda line: None)
    first, second = (half_of(whole, second=second) for second in (False, True))
    assert first.classes + second.classes == whole.classes
    for split in ("train", "test"):
        halves, all_of_them = [getattr(half, split) for half in (first, second)], getattr(whole, split)
        assert [set(half.labels) for half in halves] == [set(range(5)), set(range(5))]
        for half, offset in zip(halves, (0, 5), strict=True):
            place = 7
            row = np.flatnonzero((all_of_them.labels >= offset) & (all_of_them.labels < offset + 5))[place]
            assert half.labels[place] == all_of_them.labels[row] - offset
            assert np.array_equal(half.images[place], all_of_them.images[row])
        assert sum(len(half.labels) for half in halves) == len(all_of_them.labels)
    assert first.held_out + second.held_out == whole.held_out
    assert (first.name, second.name) == ("mnist5k, classes 1 to 5 of 10", "mnist5k, classes 6 to 10 of 10")


def test_of_an_odd_number_of_classes_the_second_half_has_one_more(digits: ImageDataset) -> None:
    first, second = (half_of(replace(digits, classes=digits.classes[:7]), second=second) for second in (False, True))
    assert (first.classes, second.classes) == (digits.classes[:3], digits.classes[3:7])
    assert [set(half.train.labels) for half in (first, second)] == [{0, 1, 2}, {0, 1, 2, 3}]


def test_of_three_classes_no_half_has_two(digits: ImageDataset) -> None:
    with pytest.raises(Unsupported, match="mnist5k has 3 classes: halves of them need 4 or more"):
        half_of(replace(digits, classes=digits.classes[:3]), second=True)
