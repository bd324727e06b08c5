"""As accurate, less accurate, or not enough images: by the margin."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.quality import Margins
from bench.report.judging import by_margin, judged, margins_of
from bench.report.pairing import compared
from bench.report.statistics import Estimate, Interval


def change(value: float, half: float) -> Estimate:
    return Estimate(value=value, interval=Interval(low=value - half, high=value + half))


@pytest.mark.parametrize(
    ("value", "half", "word", "needed"),
    [
        (0.0, 0.005, "as accurate", None),
        (-0.008, 0.001, "as accurate", None),  # less, and surely so, but within the margin
        (0.03, 0.05, "not enough images to say", 1_600),  # -0.02 at its worse end: 1000 (0.05 / 0.04)^2, rounded up
        (-0.005, 0.01, "not enough images to say", 4_000),
        (-0.05, 0.01, "less accurate", None),
        (-0.01, 0.01, "not enough images to say", None),  # exactly on the margin: no number would do
    ],
)
def test_the_worse_end_of_the_interval_decides(value: float, half: float, word: str, needed: int | None) -> None:
    found = by_margin(change(value, half), -0.01, 1000)
    assert (found.word, found.needed) == (word, needed)


def test_an_untrained_network_is_not_judged(make: Any, run_of: Any) -> None:
    row = make.inference(accuracy=None, absent={"quality": "not trained in this budget"}, precision="bf16")
    (result,) = compared([run_of(row)])
    assert judged(result, Margins()).text == "quality not judged: untrained"


def test_without_labels_nothing_is_paired(make: Any, run_of: Any) -> None:
    (result,) = compared([run_of(make.inference(accuracy=0.7, precision="bf16"))])
    assert judged(result, Margins()).word == "not judged"


def test_margins_come_from_the_command_then_from_the_run(run_of: Any, make: Any) -> None:
    run = run_of(make.inference(), max_drop="0.5/4")
    assert margins_of([run]) == Margins(accuracy=0.005, perplexity=0.04)
    assert margins_of([run], "2") == Margins(accuracy=0.02, perplexity=0.04)
    assert margins_of([run_of(make.inference())]) == Margins(accuracy=0.01, perplexity=0.02)


@pytest.mark.parametrize("text", ["", "a", "-1", "1/2/3", "1/"])
def test_a_margin_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--max-drop"):
        margins_of([], text)
