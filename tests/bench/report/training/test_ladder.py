from __future__ import annotations

import re
from typing import Any

import pytest

from bench.core.comparisons import LADDER
from bench.plan.training_cases import arithmetic_options
from bench.report.arithmetic import words_of
from bench.report.render import render

RATES = (100.0, 130.0, 200.0, 240.0, 250.0, 400.0)
"""Images a second of each place of the ladder, but the last."""
JITTER = (1.0, 1.01, 0.99, 1.005, 0.995)


def ladder(learn: Any, seeds: int = 3, rates: tuple[float, ...] = RATES, **changes: Any) -> list[Any]:
    """Every rung over seeds, none exactly as fast as before; accuracies of seeds differ, those of rungs hardly."""
    return [
        learn.rung(
            place,
            rate * JITTER[(seed + place) % 5],
            0.70 + 0.01 * seed + 0.001 * ((place * (seed + 1)) % 3),
            seed=seed,
            compile_seconds=40.0 if place == 5 else None,
            **changes,
        )
        for seed in range(seeds)
        for place, rate in enumerate(rates)
    ]


def lines(make: Any, summary: str) -> dict[str, dict[str, str]]:
    return {row["rung"]: row for row in make.table(summary, "rung")}


def finding(summary: str) -> str:
    section = summary.split("## Training made faster")[1]
    return next(line for line in section.splitlines() if line.startswith("**"))


def test_rungs_are_named_by_what_they_add(make: Any, learn: Any, summary_of: Any) -> None:
    found = lines(make, summary_of(*ladder(learn)))
    assert list(found) == [
        "the notes' loop, 0 workers",
        "the notes' loop, 2 workers",
        "tensor pipeline",
        "+ channels last",
        "+ fused optimiser",
        "+ compiled",
    ]
    assert len(found["+ compiled"]) <= 9


def test_every_rung_of_the_suite_has_a_name() -> None:
    facts = [
        {
            "pipeline": arithmetic.pipeline,
            "mode": arithmetic.mode,
            "precision": arithmetic.precision,
            "settings": {"rung": position, "train_images": 100, **arithmetic_options(arithmetic)},
        }
        for position, arithmetic in LADDER
    ]
    names = [words_of(row) for row in facts]
    assert len(set(names)) == len(LADDER)
    assert names[-1] == (
        "tensor pipeline",
        "channels last",
        "small maps as matrix products",
        "fused optimiser",
        "compiled",
        "bf16 autocast",
    )


def test_speeds_go_to_the_rung_before_and_to_the_faster_of_the_lowest(make: Any, learn: Any, summary_of: Any) -> None:
    found = lines(make, summary_of(*ladder(learn, rates=(100.0, 130.0, 200.0, 240.0))))
    start, tensor = found["the notes' loop, 2 workers"], found["tensor pipeline"]
    assert start["to the notes' loop [×] ↑"] == "baseline"
    assert float(found["the notes' loop, 0 workers"]["to the notes' loop [×] ↑"].split(" (")[0]) < 0.8
    assert tensor["to the rung before [×] ↑"] == tensor["to the notes' loop [×] ↑"]
    assert tensor["to the rung before [×] ↑"].startswith("1.5")
    last = found["+ channels last"]
    assert last["to the rung before [×] ↑"].startswith("1.2")
    assert last["to the notes' loop [×] ↑"].startswith("1.8")
    assert re.fullmatch(r"1\.8\d+ \(1\.\d+ to 1\.\d+\)", last["to the notes' loop [×] ↑"])
    assert last["seeds"] == "3"


def test_without_workers_may_be_the_faster(make: Any, learn: Any, summary_of: Any) -> None:
    found = lines(make, summary_of(*ladder(learn, rates=(130.0, 100.0, 200.0))))
    assert found["the notes' loop, 0 workers"]["to the notes' loop [×] ↑"] == "baseline"
    assert found["tensor pipeline"]["to the notes' loop [×] ↑"].startswith("1.5")


def test_the_finding_names_the_gain_the_largest_step_and_the_accuracies(learn: Any, summary_of: Any) -> None:
    told = finding(summary_of(*ladder(learn)))
    assert told.startswith("**resnet14_cifar trains 3.07 (2.93 to 3.22) times as fast with")
    how = "tensor pipeline, channels last, fused optimiser, compiled"
    assert f"times as fast with {how} as with the notes' loop, 2 workers (3 seeds)" in told
    assert "the largest step of it *+ compiled*, 1.597 (1.535 to 1.662) times; no accuracy" in told
    assert "median" not in told
    assert told.endswith(
        "no accuracy differs beyond its interval (3 seeds), but differences of up to 0.25 points could hide.**"
    )


def test_the_fastest_that_shows_is_named_and_the_faster_median_that_does_not(learn: Any, summary_of: Any) -> None:
    """The highest median varies between a third and three times the notes' loop."""
    steady = [(0, rate) for rate in (100, 101, 99)], [(2, rate) for rate in (180, 182, 183)]
    wild = [(4, rate) for rate in (40, 300, 310)]
    rungs = [learn.rung(place, rate, seed=seed) for some in (*steady, wild) for seed, (place, rate) in enumerate(some)]
    told = finding(summary_of(*rungs))
    assert told.startswith("**resnet14_cifar trains 1.817 (1.750 to 1.886) times as fast with tensor pipeline as with")
    assert "the largest step of it *tensor pipeline*, 1.817 (1.750 to 1.886) times" in told
    assert re.search(
        r"; the highest median is that of \*[^*]*fused optimiser\*, 1\.5\d \(0\.0\d to [^)]*\) times", told
    )
    assert "which does not show; " in told


def test_a_step_above_the_rung_that_is_named_is_not_of_its_gain(learn: Any, summary_of: Any) -> None:
    """From a rung that varies to one that does not, the step shows although the rung is no faster than the first."""
    rates = {0: (100, 101, 99), 2: (150, 151, 152), 3: (50, 51, 52), 4: (120, 121, 119)}
    rungs = [learn.rung(place, rate, seed=seed) for place, some in rates.items() for seed, rate in enumerate(some)]
    told = finding(summary_of(*rungs))
    assert "times as fast with tensor pipeline as with" in told
    assert "the largest step of it *tensor pipeline*, 1.510 (1.457 to 1.565) times;" in told


def test_an_accuracy_that_differs_is_named(make: Any, learn: Any, summary_of: Any) -> None:
    worse = [learn.rung(3, 240, 0.60 + 0.01 * seed + 0.001 * (seed == 1), seed=seed) for seed in range(3)]
    summary = summary_of(*ladder(learn, rates=RATES[:3]), *worse)
    change = lines(make, summary)["+ channels last"]["change [points] ↑"]
    assert change.startswith("-10.")
    assert change.endswith("(0 outside)")
    assert "accuracy differs beyond its interval in 1 of 3 rungs (3 seeds): + channels last -10." in finding(summary)


def test_what_intervals_leave_open_is_no_gain(learn: Any, summary_of: Any) -> None:
    near = [learn.rung(place, rate, seed=seed) for place, rates in ((0, (100, 130)), (2, (120, 125)))
            for seed, rate in enumerate(rates)]  # fmt: skip
    told = finding(summary_of(*near))
    assert "no rung trains faster than the notes' loop, 0 workers by more than the intervals leave open" in told


def test_one_seed_judges_no_accuracy(learn: Any, summary_of: Any) -> None:
    told = finding(summary_of(*ladder(learn, seeds=1)))
    assert "whether accuracies differ cannot be judged with one seed" in told


def test_rungs_that_cannot_run_stand_in_the_ladder_with_their_reason(make: Any, learn: Any, summary_of: Any) -> None:
    reason = "this CPU has no bf16 instructions"
    failed = [learn.rung_failure(6, "unsupported", reason, seed=seed) for seed in range(3)]
    crashed = learn.rung_failure(5, "crashed", "signal 11", seed=3)
    summary = summary_of(*ladder(learn), *failed, crashed)
    found = lines(make, summary)
    assert found["+ bf16 autocast"]["marks"] == f"unsupported here (seed 0, 1, 2): {reason}"
    assert found["+ bf16 autocast"]["images/s ↑"] == "–"
    assert found["+ compiled"]["marks"] == "its process died (seed 3): signal 11"
    assert found["+ compiled"]["seeds"] == "3"
    assert make.table(summary.split("cannot run here")[1], "reason")[0]["reason"] == reason


def test_the_rung_after_one_that_failed_goes_to_the_last_that_was_measured(
    make: Any, learn: Any, summary_of: Any
) -> None:
    outcomes = [outcome for outcome in ladder(learn) if outcome.case.option("rung") != 2]
    failed = [learn.rung_failure(3, "error", "ValueError: no", seed=seed) for seed in range(3)]
    found = lines(make, summary_of(*outcomes, *failed))
    assert list(found)[2:5] == ["tensor pipeline", "+ channels last", "+ fused optimiser"]
    assert found["+ fused optimiser"]["to the rung before [×] ↑"].startswith("1.2")  # 250 to the tensor pipeline's 200


def test_failures_that_differ_in_their_rung_alone_are_told_apart(make: Any, learn: Any, summary_of: Any) -> None:
    failed = [learn.rung_failure(place, "error", "ValueError: no") for place in (2, 3)]
    rows = make.table(summary_of(*failed).split("cases failed")[1], "reason")
    assert [row["options"] for row in rows] == [
        "channels_last=True rung=2 train_images=4000",
        "rung=1 train_images=4000",
    ]


def test_ladders_of_other_machines_and_images_stand_apart(make: Any, learn: Any, tmp_path: Any) -> None:
    paths = [
        make.write(tmp_path / "a.json", ladder(learn)),
        make.write(tmp_path / "b.json", ladder(learn), machine=make.machine(cpu="Another CPU")),
        make.write(tmp_path / "c.json", ladder(learn, options={"train_images": 8_000})),
    ]
    summary = render(paths, tmp_path / "out").summary.read_text()
    section = summary.split("## Training made faster")[1].split("\n## ")[0]
    assert section.count("### resnet14_cifar") == 3
    assert all("tensor pipeline" in part for part in section.split("### resnet14_cifar")[1:])


@pytest.mark.parametrize(("budget", "told"), [("smoke", 0), ("quick", 1)])
def test_the_smoke_budget_finds_nothing(learn: Any, summary_of: Any, budget: str, told: int) -> None:
    summary = summary_of(*ladder(learn, budget=budget), budget=budget)
    assert summary.split("## Training made faster")[1].count("times as fast") == told
