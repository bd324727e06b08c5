from __future__ import annotations

from typing import Any

import pytest

from bench.report.frame import rows_of, tidy
from bench.report.parting import parting


@pytest.mark.parametrize(
    ("first", "second", "words", "turn"),
    [
        ((1, 2, 3), (4, 5), "never in 5", None),
        ((1, 2, 9), (4, 5), "2", 1),
        ((9, 2, 3), (4, 5), "0", 1),
        ((1, 2, 3), (4, 9), "4", 2),
        ((1, 2), (4, 5), "2", 1),  # it ends before fp32 does
        ((1, 2, 3, 4), (4, 5), "3", 1),  # it goes on where fp32 ends
        ((1, 2, 3), (), "never in 3", None),
    ],
)
def test_tokens_alike_until_they_part(
    make: Any, run_of: Any, first: tuple[int, ...], second: tuple[int, ...], words: str, turn: int | None
) -> None:
    run = run_of(make.chat(), make.chat(first, second, precision="nf4"))
    fp32, nf4 = rows_of(tidy([run]), "chat")
    found = parting(nf4, fp32)
    assert found is not None
    assert (found.words, found.turn) == (words, turn)


def test_answers_of_another_length_are_not_compared(make: Any, run_of: Any) -> None:
    shorter = make.chat(precision="nf4", figures={"max_new_tokens": 32})
    fp32, nf4 = rows_of(tidy([run_of(make.chat(), shorter)]), "chat")
    assert parting(nf4, fp32) is None
    fp32, nf4 = rows_of(tidy([run_of(make.chat(), make.chat(precision="nf4", series={}))]), "chat")
    assert parting(nf4, fp32) is None
