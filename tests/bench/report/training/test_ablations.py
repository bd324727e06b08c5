from __future__ import annotations

from typing import Any


def dropout(learn: Any, seeds: int = 3) -> list[Any]:
    return [
        learn.ablation("dropout", variant, accuracy + shift * seed, 0.9, seed=seed)
        for seed in range(seeds)
        for variant, accuracy, shift in (
            ("after activation", 0.63, 0.010),
            ("before activation", 0.60, 0.012),
            ("none", 0.60, 0.011),
        )
    ]


def test_variants_go_to_the_first_of_their_question(make: Any, learn: Any, summary_of: Any) -> None:
    summary = summary_of(*dropout(learn))
    none, before, after = make.table(summary, "variant")
    assert [row["variant"] for row in (none, before, after)] == ["none", "before activation", "after activation"]
    assert none["change [points] ↑"] == "baseline"
    # 0, 0.1, 0.2 points: 4.303 * 0.1 / sqrt(3) = 0.25
    assert before["change [points] ↑"] == "+0.10 ± 0.25 (0 inside)"
    assert after["change [points] ↑"] == "+2.90 ± 0.25 (0 outside)"
    assert (
        "**before activation is not told apart from none: +0.10 ± 0.25 (0 inside) points (3 seeds); after activation "
        "is better than none: +2.90 ± 0.25 (0 outside) points (3 seeds); differences of up to 0.25 points could hide.**"
        in summary
    )


def test_the_gap_is_that_of_the_last_epoch(make: Any, learn: Any, summary_of: Any) -> None:
    row = make.table(summary_of(*dropout(learn)), "variant")[0]
    # 30, 28.9 and 27.8 points
    assert row["gap, training less test [points] ↓"] == "+28.90 ± 2.73"


def test_one_seed_tells_nothing_apart(make: Any, learn: Any, summary_of: Any) -> None:
    summary = summary_of(*dropout(learn, seeds=1))
    assert make.table(summary, "variant")[2]["change [points] ↑"] == "+3.00"
    assert "after activation is not told apart from none: +3.00 points (1 seed)" in summary


def test_networks_are_variants_where_they_are_what_is_asked(make: Any, learn: Any, summary_of: Any) -> None:
    summary = summary_of(
        learn.ablation("overfitting", "resnet", 0.75, model="resnet_custom"),
        learn.ablation("overfitting", "vgg", 0.70, model="cnn_vgg"),
    )
    rows = make.table(summary, "variant")
    assert [(row["variant"], row["model"]) for row in rows] == [("vgg", "cnn_vgg"), ("resnet", "resnet_custom")]
    assert "### overfitting: cnn_vgg and resnet_custom" in summary


def test_guessing_is_marked(make: Any, learn: Any, summary_of: Any) -> None:
    summary = summary_of(
        learn.ablation("skip connections", "without", 0.1), learn.ablation("skip connections", "with", 0.6)
    )
    assert [row["marks"] for row in make.table(summary, "variant")] == ["no better than guessing", "–"]
