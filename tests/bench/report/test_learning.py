"""Transfers, ablations and loaders; and the claims of the notes that they judge."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.report.claims import CLAIMS, judged_claims
from bench.report.learning import ablations, loadings, transfers, worker_pairs
from bench.report.pairing import compared


def recased(measurement: Any, experiment: str, **options: Any) -> Any:
    case = dataclasses.replace(measurement.case, experiment=experiment, options=tuple(sorted(options.items())))
    return dataclasses.replace(measurement, case=case)


def transfer(make: Any, scope: str, seed: int, accuracy: float, seconds: float) -> Any:
    base = make.training(accuracy, seconds=(seconds,) * 3, seed=seed, figures={"training_seconds": 3 * seconds})
    return recased(base, "transfer", scope=scope, source="five_classes")


def variant(make: Any, name: str, seed: int, accuracy: float, question: str = "dropout") -> Any:
    return recased(make.training(accuracy, seed=seed), "ablation", question=question, variant=name)


def loading(make: Any, workers: int, seconds: float) -> Any:
    base = make.inference([seconds] * 30, model="none")
    return recased(base, "loading", workers=workers, items=1000)


def verdicts(content: Any) -> dict[str, str]:
    return {one.claim: one.verdict for one in judged_claims(content).claims}


def test_a_transfer_is_compared_with_training_from_scratch(make: Any, run_of: Any) -> None:
    rows = [transfer(make, "scratch", seed, 0.5 + seed / 100, 10.0) for seed in range(3)]
    rows += [transfer(make, "head", seed, 0.6 + seed / 100, 4.0 + seed / 10) for seed in range(3)]
    run = run_of(*rows)
    (one,) = transfers(compared([run]), run.datasets)
    assert list(one.groups) == ["scratch", "head"]
    assert one.change("head", "scratch").estimate.value == pytest.approx(0.1)
    assert one.time_over("head").side == "below"


def test_claims_of_transfer_are_judged_by_their_intervals(make: Any, content_of: Any) -> None:
    rows = [transfer(make, "scratch", seed, 0.5, 10.0) for seed in range(3)]
    rows += [transfer(make, "head", seed, 0.7 + seed / 1000, 4.0 + seed / 10) for seed in range(3)]
    rows += [transfer(make, "all", seed, 0.6 + seed / 500, 11.0 + seed / 10) for seed in range(3)]
    content = content_of(*rows)
    told = {(one.claim, one.about): one.verdict for one in judged_claims(content).claims}
    frozen, shorter = "5: frozen layers do better than training all", "5: transfer shortens training"
    assert told[frozen, "cnn_small, five classes"] == "holds"
    assert told[shorter, "cnn_small, five classes, new head alone"] == "holds"
    assert told[shorter, "cnn_small, five classes, all layers"] == "does not hold"


@pytest.mark.parametrize(
    ("after", "verdict"), [((0.601, 0.602, 0.6015), "holds"), ((0.7, 0.7, 0.701), "does not hold")]
)
def test_makes_no_difference_needs_a_narrow_interval(
    make: Any, content_of: Any, after: tuple[float, ...], verdict: str
) -> None:
    rows = [variant(make, "before activation", seed, 0.601 + seed / 1000) for seed in range(3)]
    rows += [variant(make, "after activation", seed, value) for seed, value in enumerate(after)]
    assert verdicts(content_of(*rows))["7: dropout before or after the activation makes no difference"] == verdict


def test_an_ablation_has_its_base_first(make: Any, run_of: Any) -> None:
    run = run_of(*(variant(make, name, 0, 0.6) for name in ("after activation", "none", "before activation")))
    (one,) = ablations(compared([run]), run.datasets)
    assert (one.base, list(one.groups)) == ("none", ["none", "before activation", "after activation"])


def test_one_seed_judges_nothing(make: Any, content_of: Any) -> None:
    rows = [variant(make, "none", 0, 0.6), variant(make, "before activation", 0, 0.7)]
    found = judged_claims(content_of(*rows))
    assert (found.claims, len(found.open)) == ((), len(CLAIMS))


def test_more_workers_are_compared_pair_by_pair(make: Any, run_of: Any, content_of: Any) -> None:
    rows = [loading(make, 0, 0.010), loading(make, 2, 0.005), loading(make, 4, 0.020)]
    (members,) = loadings(compared([run_of(*rows)]))
    assert [(fewer, more, found.side) for fewer, more, found in worker_pairs(members)] == [
        (0, 2, "above"),
        (0, 4, "below"),
        (2, 4, "below"),
    ]
    assert verdicts(content_of(*rows))["6: more loader workers are not always faster"] == "holds"


def test_claims_of_quantisation_go_by_bytes_and_speed(make: Any, content_of: Any) -> None:
    low = {"precision": "int8_static", "bits": (8, 8), "shares": (1.0, 1.0), "weight_bytes": 50_000, "compute": "int8"}
    rows = [make.inference([0.004] * 30), make.inference([0.001] * 30, **low)]
    told = verdicts(content_of(*rows))
    assert told["0: quantised is smaller"] == told["0: computes less, so runs faster"] == "holds"
    slower = [make.inference([0.004] * 30), make.inference([0.009] * 30, **low)]
    assert verdicts(content_of(*slower))["0: computes less, so runs faster"] == "does not hold"


@pytest.mark.parametrize(("flops", "verdict"), [(1e7, "holds"), (2.1e6, "no clear difference"), (1e6, "does not hold")])
def test_integers_use_the_hardware_better_by_the_shares_of_two_ceilings(
    make: Any, content_of: Any, flops: float, verdict: str
) -> None:
    """fp32 does 5 of 100 GFLOP/s; int8 so many a millisecond of 200."""
    fp32 = make.inference([0.001] * 30, figures={"flops_per_image": 5e6}, compute="float32", mode="compiled")
    low = {"precision": "int8_static", "bits": (8, 8), "shares": (1.0, 1.0), "compute": "int8", "mode": "compiled"}
    int8 = make.inference([0.001] * 30, figures={"flops_per_image": 5 * flops}, **low)
    told = verdicts(content_of(fp32, int8, make.ceilings(float32=1e11, int8=2e11)))
    assert told["0: integers use the hardware better"] == verdict
