from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bench.core.records import Measurement
from bench.report.frame import rows_of, tidy
from bench.report.perplexity import Change, change

FP32 = (300.0, 310.0, 140.0)
NF4 = (320.0, 325.0, 152.0)
TOKENS = (100, 100, 50)


def held(run: Any) -> Change | None:
    """The row of nf4 held against the other one."""
    rows = {row["precision"]: row for row in rows_of(tidy([run]), "perplexity")}
    return change(rows["nf4"], rows["fp32"])


def pair(make: Any, **changes: Any) -> tuple[Measurement, Measurement]:
    return make.perplexity(FP32, TOKENS), make.perplexity(
        **{"nats": NF4, "tokens": TOKENS, "precision": "nf4"} | changes
    )


def test_the_ratio_and_its_error_by_hand(make: Any, run_of: Any) -> None:
    found = held(run_of(*pair(make)))
    assert found is not None
    mean = (20 + 15 + 12) / 250
    rest = np.array([20, 15, 12]) - mean * np.array(TOKENS)
    assert found.ratio == pytest.approx(math.exp(mean)) == pytest.approx(math.exp(797 / 250) / math.exp(750 / 250))
    assert found.standard_error == pytest.approx(found.ratio * math.sqrt(3 / 2 * (rest**2).sum()) / 250)
    assert found.windows == 3
    assert found.shows


def test_the_error_is_that_of_the_windows(make: Any, run_of: Any) -> None:
    """Of many runs, the ratio scatters as its standard error says."""
    rng = np.random.default_rng(3)
    tokens = (100,) * 40
    fp32 = make.perplexity((300.0,) * 40, tokens)
    nats = [300 + 2 + rng.normal(0, 4, size=40) for _ in range(40)]
    runs = [run_of(fp32, make.perplexity(some.tolist(), tokens, precision="nf4")) for some in nats]
    found = [one for run in runs if (one := held(run)) is not None and one.standard_error is not None]
    within = sum(abs(one.ratio - math.exp(0.02)) <= 2 * (one.standard_error or 0) for one in found)
    assert len(found) == 40
    assert within >= 34


def test_a_change_within_two_errors_does_not_show(make: Any, run_of: Any) -> None:
    found = held(run_of(*pair(make, nats=(305.0, 306.0, 139.5))))
    assert found is not None
    assert not found.shows


def test_few_windows_need_a_wider_change(make: Any, run_of: Any) -> None:
    """Two windows: Student's t with one degree of freedom is 12.7."""
    run = run_of(make.perplexity((300, 300), (100, 100)), make.perplexity((302, 304), (100, 100), precision="nf4"))
    found = held(run)
    assert found is not None
    assert found.standard_error is not None
    assert abs(found.ratio - 1) > 2 * found.standard_error
    assert not found.shows


def test_one_window_has_no_error_and_shows_nothing(make: Any, run_of: Any) -> None:
    run = run_of(make.perplexity([300.0], [100]), make.perplexity([400.0], [100], precision="nf4"))
    found = held(run)
    assert found == Change(ratio=pytest.approx(math.e), standard_error=None, windows=1)
    assert not found.shows


@pytest.mark.parametrize("changes", [{"tokens": (100, 101, 49)}, {"series": {}}], ids=["tokens", "none"])
def test_other_tokens_are_not_compared(make: Any, run_of: Any, changes: dict[str, Any]) -> None:
    assert held(run_of(*pair(make, **changes))) is None


def test_a_text_without_a_digest_is_not_compared(make: Any, run_of: Any) -> None:
    options = {"options": {"text_digest": None}}
    run = run_of(make.perplexity(FP32, TOKENS, **options), make.perplexity(NF4, TOKENS, precision="nf4", **options))
    assert held(run) is None
