from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.images import load_dataset
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
