from __future__ import annotations

from typing import Any

from bench.report.render import render
from models.ablations import ABLATIONS

NOT_BOTH = "cannot be judged: not both sides of it were measured"
NO_SPREAD = "cannot be judged: the spread between seeds is not known"
LEVEL = "cannot be judged: no difference beyond its 95 % interval"


def verdicts(make: Any, summary: str) -> dict[str, tuple[str, str]]:
    """By the claim: the verdict, and what the rows show."""
    rows = make.table(summary.split("## What the notes claim of training")[1], "verdict")
    return {row["claim"]: (row["verdict"], row.get("what the rows show", "–")) for row in rows}


def verdict(make: Any, summary: str, start: str) -> tuple[str, str]:
    return next(found for claim, found in verdicts(make, summary).items() if start in claim)


def seeds_of(learn: Any, question: str, accuracies: dict[str, tuple[float, ...]], **changes: Any) -> list[Any]:
    return [
        learn.ablation(question, variant, accuracy, seed=seed, **changes)
        for variant, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def test_what_was_not_measured_is_not_judged(make: Any, summary_of: Any) -> None:
    found = verdicts(make, summary_of(make.training()))
    assert len(found) == 11
    assert found.pop("8: quantisation also makes training cheaper") == ("not tested here", "–")
    assert all(words.startswith("cannot be judged: ") for words, _ in found.values())
    assert "What the notes claim of training" not in summary_of(make.inference())


def test_smoke_runs_judge_nothing(make: Any, learn: Any, summary_of: Any) -> None:
    summary = summary_of(learn.loading(0, 1_000.0, budget="smoke"), budget="smoke")
    assert "Cannot be judged: the smoke budget's figures mean nothing." in summary


def test_architecture_goes_by_whole_trainings_of_note_2(make: Any, summary_of: Any) -> None:
    def trainings(residual: float, **changes: Any) -> list[Any]:
        return [
            training
            for seed in range(3)
            for training in (
                make.training(residual + 0.011 * seed, recipe="note2_resnet_custom", seed=seed, **changes),
                make.training(0.80 + 0.01 * seed, recipe="note2_cnn_vgg", seed=seed, **changes),
            )
        ]

    claim = "better architecture"
    assert verdict(make, summary_of(*trainings(0.85)), claim)[0] == "holds"
    assert verdict(make, summary_of(*trainings(0.75)), claim)[0] == "does not hold"
    assert verdict(make, summary_of(*trainings(0.799)), claim)[0] == LEVEL
    shortened = summary_of(*trainings(0.85, options=(("train_images", 500),)))
    assert verdict(make, shortened, claim)[0] == "cannot be judged: the trainings were cut short by the budget"


def test_frozen_layers_are_judged_over_seeds(make: Any, learn: Any, summary_of: Any) -> None:
    def found(head: float, seeds: int = 3) -> tuple[str, str]:
        rows = [
            learn.transfer(scope, accuracy + shift * seed, seed=seed)
            for seed in range(seeds)
            for scope, accuracy, shift in (("head", head, 0.011), ("all", 0.8, 0.01))
        ]
        return verdict(make, summary_of(*rows), "frozen layers")

    assert found(0.85) == ("holds", "resnet18_cifar, five classes: +5.10 ± 0.25 (0 outside) points (3 seeds)")
    assert found(0.75)[0] == "does not hold"
    assert found(0.799)[0] == LEVEL
    assert found(0.85, seeds=1) == (NO_SPREAD, "resnet18_cifar, five classes: +5.00 points (1 seed)")


def test_transfer_shortens_where_its_time_is_below_that_of_scratch(make: Any, learn: Any, summary_of: Any) -> None:
    def found(head: float, layers: float) -> tuple[str, str]:
        rows = [
            learn.transfer(scope, 0.8, seconds * (1 + jitter * seed), seed=seed)
            for seed in range(3)
            for scope, seconds, jitter in (("scratch", 20.0, 0.0), ("head", head, 0.01), ("all", layers, 0.02))
        ]
        return verdict(make, summary_of(*rows), "shortens")

    assert found(5.0, 10.0)[0] == "holds"
    assert found(5.0, 19.5)[0] == "holds in 1 of 2"
    assert found(30.0, 40.0)[0] == "does not hold"
    assert "resnet18_cifar, five classes, the new head alone: 0.25" in found(5.0, 10.0)[1]


def test_workers_are_judged_by_pairs(make: Any, learn: Any, summary_of: Any) -> None:
    def found(*rates: float, **changes: Any) -> tuple[str, str]:
        rows = [learn.loading(workers, rate, **changes) for workers, rate in zip((0, 1, 2), rates, strict=False)]
        return verdict(make, summary_of(*rows), "loader workers")

    assert found(1_000, 1_800, 1_200) == (
        "holds",
        "more slower in 1, faster in 2 of 3 pairs; random data, 5,000 items, loading alone: 2 against 1 0.667 ×",
    )
    assert found(1_000, 1_800, 3_000)[0] == "does not hold"
    level = "cannot be judged: some pairs of numbers of workers cannot be told apart, and in none the larger is slower"
    assert found(1_000, 1_800, 1_700)[0] == level  # less than 10 % apart in one process
    assert found(1_000, 1_800, 900, seconds=(1.0, 2.0))[0] == "cannot be judged: too few samples for an interval"
    assert found(1_000)[0] == "cannot be judged: no two numbers of loader workers were measured"


def test_two_processes_tell_less_than_a_tenth_of_workers(make: Any, learn: Any, summary_of: Any) -> None:
    rows = [
        learn.loading(workers, rate, repeat=repeat) for repeat in (0, 1) for workers, rate in ((0, 1_000), (1, 950))
    ]
    assert verdict(make, summary_of(*rows), "loader workers")[0] == "holds"


def test_ablations_hold_where_the_interval_lies_above(make: Any, learn: Any, summary_of: Any) -> None:
    rows = [
        *seeds_of(learn, "batch norm", {"without": (0.60, 0.61, 0.62), "with": (0.70, 0.711, 0.722)}),
        *seeds_of(learn, "skip connections", {"without": (0.70, 0.71, 0.72), "with": (0.60, 0.611, 0.622)}),
        *seeds_of(learn, "initialisation", {"xavier": (0.70, 0.71, 0.72), "he": (0.70, 0.72, 0.71)}),
        *seeds_of(
            learn,
            "dropout",
            {"none": (0.6, 0.61), "before activation": (0.65, 0.6601), "after activation": (0.6, 0.62)},
        ),
    ]
    summary = summary_of(*rows)
    expected = "cnn_small with: +10.10 ± 0.25 (0 outside) points (3 seeds)"
    assert verdict(make, summary, "batch normalisation") == ("holds", expected)
    assert verdict(make, summary, "skip connections")[0] == "does not hold"
    assert verdict(make, summary, "He beats Xavier")[0] == LEVEL
    assert verdict(make, summary, "dropout helps")[0] == "holds in 1 of 2"


def test_every_ablation_of_the_suite_is_judged(make: Any, learn: Any, summary_of: Any) -> None:
    """Questions and variants go by the names that the experiments write, the first variant first."""
    rows = [
        learn.ablation(question, name, 0.5 + 0.1 * place + 0.01 * seed * place, 0.9, model=variant.model, seed=seed)
        for question, variants in ABLATIONS.items()
        for place, (name, variant) in enumerate(variants.items())
        for seed in range(3)
    ]
    summary = summary_of(*rows)
    found = {claim: words for claim, (words, _) in verdicts(make, summary).items() if claim.startswith("7")}
    assert len(found) == 6
    assert NOT_BOTH not in found.values()
    for question, variants in ABLATIONS.items():
        shown = make.table(summary.split(f"### {question}: ")[1], "variant")
        assert [row["variant"] for row in shown] == list(variants)


def test_no_difference_asks_for_a_narrow_interval(make: Any, learn: Any, summary_of: Any) -> None:
    def found(before: tuple[float, ...], after: tuple[float, ...]) -> str:
        rows = seeds_of(learn, "dropout", {"before activation": before, "after activation": after})
        return verdict(make, summary_of(*rows), "makes no difference")[0]

    assert found((0.60, 0.61, 0.62), (0.60, 0.61, 0.62)) == "holds"
    assert found((0.60, 0.61, 0.62), (0.601, 0.61, 0.621)) == "holds"
    assert found((0.60, 0.61, 0.62), (0.65, 0.661, 0.672)) == "does not hold"
    assert found((0.60, 0.61, 0.62), (0.62, 0.61, 0.60)) == "cannot be judged: the interval is wider than that"
    assert found((0.60,), (0.60,)) == NO_SPREAD


def test_overfitting_goes_by_the_gap(make: Any, learn: Any, summary_of: Any) -> None:
    def found(residual: float) -> tuple[str, str]:
        rows = [
            learn.ablation("overfitting", variant, 0.7, trained + shift * seed, model=model, seed=seed)
            for seed in range(3)
            for variant, model, trained, shift in (
                ("vgg", "cnn_vgg", 0.8, 0.01),
                ("resnet", "resnet_custom", residual, 0.011),
            )
        ]
        return verdict(make, summary_of(*rows), "overfits")

    expected = "gap of resnet_custom less cnn_vgg: +10.10 ± 0.25 (0 outside) points (3 seeds)"
    assert found(0.9) == ("holds", expected)
    assert found(0.7)[0] == "does not hold"
    assert found(0.799)[0] == LEVEL


def test_places_have_verdicts_of_their_own(make: Any, learn: Any, tmp_path: Any) -> None:
    paths = [
        make.write(tmp_path / "a.json", [learn.loading(0, 1_000.0), learn.loading(2, 500.0)]),
        make.write(
            tmp_path / "b.json",
            [learn.loading(0, 1_000.0), learn.loading(2, 2_000.0)],
            machine=make.machine(cpu="Another CPU"),
        ),
    ]
    summary = render(paths, tmp_path / "out").summary.read_text()
    rows = make.table(summary.split("## What the notes claim of training")[1], "verdict")
    found = {row["machine"]: row["verdict"] for row in rows if "workers" in row["claim"]}
    assert found == {"M1": "holds", "M2": "does not hold"}
