from __future__ import annotations

from typing import Any


def three(learn: Any, seeds: int = 3, **changes: Any) -> list[Any]:
    """Frozen layers are best and take a quarter of the time; all layers take as long as from scratch."""
    return [
        outcome
        for seed in range(seeds)
        for outcome in (
            learn.transfer("all", 0.86 + 0.011 * seed, 20.2 - 0.2 * seed, seed=seed, **changes),
            learn.transfer("scratch", 0.80 + 0.01 * seed, 20.0 + 0.1 * seed, seed=seed, **changes),
            learn.transfer("head", 0.90 + 0.012 * seed, 5.0 + 0.1 * seed, seed=seed, **changes),
        )
    ]


def test_a_line_a_scope_against_scratch(make: Any, learn: Any, summary_of: Any) -> None:
    scratch, head, layers = make.table(summary_of(*three(learn)), "what learns")
    assert [row["what learns"] for row in (scratch, head, layers)] == [
        "from scratch",
        "the new head alone",
        "all layers",
    ]
    assert (scratch["change [points] ↑"], scratch["time [×] ↓"]) == ("baseline", "baseline")
    # +10.0, +10.2, +10.4: 10.2 with 4.303 * 0.2 / sqrt(3) = 0.50 to either side
    assert head["change [points] ↑"] == "+10.20 ± 0.50 (0 outside)"
    assert head["time [×] ↓"].startswith("0.25")
    assert head["training [s] ↓"] == "5.10 ± 0.25"
    assert head["trainable parameters ↓"] == "5,130"
    assert head["steady peak, process [MB] ↓"] == "80.0"
    assert layers["time [×] ↓"].startswith("0.99")
    assert len(head) <= 9


def test_the_finding_compares_head_and_all_layers(learn: Any, summary_of: Any) -> None:
    summary = summary_of(*three(learn))
    assert "the new head alone against scratch: +10.20 ± 0.50 (0 outside) points in 0.25" in summary
    assert "the new head alone against all layers: more accurate, +4.10 ± 0.25 (0 outside) points.**" in summary
    one = summary_of(*three(learn, seeds=1))
    assert "the new head alone against all layers: not told apart in accuracy, +4.00 points.**" in one


def test_sources_and_networks_stand_apart(learn: Any, summary_of: Any) -> None:
    summary = summary_of(*three(learn), *three(learn, source="imagenet", model="vgg16", image_size=224))
    assert "### resnet18_cifar, pre-trained on the other half of the classes" in summary
    assert "### vgg16, weights of ImageNet" in summary


def test_what_the_network_knew_before_is_told(make: Any, learn: Any, summary_of: Any) -> None:
    before = [
        learn.measurement("pretraining", (9.0,), accuracy=0.9, model="resnet18_cifar", options={"half": 1}, seed=seed)
        for seed in range(2)
    ]
    assert "On the classes before it reached 90.00 ± 0.30 % (2 seeds)." in summary_of(*three(learn), *before)
    told = summary_of(*three(learn, figures={"pretraining_accuracy": 0.875}))
    assert "On the classes before it reached 87.50 %." in told


def test_a_missing_training_from_scratch_leaves_no_comparison(make: Any, learn: Any, summary_of: Any) -> None:
    rows = make.table(summary_of(learn.transfer("head", 0.9), learn.transfer("all", 0.8)), "what learns")
    assert all("change [points] ↑" not in row for row in rows)


def test_what_could_hide_is_told(learn: Any, summary_of: Any) -> None:
    rows = [
        learn.transfer(scope, accuracy + shift * (seed == 1), 20.0 + 0.1 * seed, seed=seed)
        for seed in range(3)
        for scope, accuracy, shift in (("scratch", 0.80, 0.0), ("all", 0.80, 0.01))
    ]
    # 0, 1 and 0 points: 4.303 * 0.577 / sqrt(3) = 1.43
    assert "(3 seeds); differences of up to 1.4 points could hide.**" in summary_of(*rows)
