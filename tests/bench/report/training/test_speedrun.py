from __future__ import annotations

from typing import Any


def test_times_to_the_target_over_seeds(make: Any, learn: Any, summary_of: Any) -> None:
    runs = [learn.speedrun(12.0 + 0.3 * seed, seed=seed, epochs=8 + seed % 2) for seed in range(3)]
    summary = summary_of(*runs)
    row = make.table(summary, "time to 94 % [s] ↓")[0]
    assert row["time to 94 % [s] ↓"] == "12.30 ± 0.75"  # 4.303 * 0.3 / sqrt(3)
    assert row["seeds at the target"] == "3 of 3"
    assert row["epochs to the target ↓"] == "8 to 9"
    assert (row["test accuracy [%] ↑"], row["compile [s] ↓"]) == ("94.20 ± 0.23", "41.0")
    assert row["settings"] == "tensor pipeline"
    assert len(row) <= 9
    assert "**resnet18_cifar reaches 94 % after 12.30 ± 0.75 s of training, in 3 of 3 seeds.**" in summary
    assert "- a standard ResNet-18 reaches 96 % in 7 minutes on an A100" in summary
    assert "- the record for any network is 94 % in 2.6 s on an A100" in summary


def test_seeds_that_miss_the_target_are_counted_and_explained(make: Any, learn: Any, summary_of: Any) -> None:
    some = summary_of(learn.speedrun(12.0), learn.speedrun(None, seed=1))
    row = make.table(some, "time to 94 % [s] ↓")[0]
    assert (row["seeds at the target"], row["time to 94 % [s] ↓"]) == ("1 of 2", "12.0")
    none = summary_of(learn.speedrun(None, accuracy=0.93))
    assert make.table(none, "time to 94 % [s] ↓")[0]["time to 94 % [s] ↓"] == "not reached"
    why = "the best of 9 epochs is 0.9300, below 0.94"
    assert f"**resnet18_cifar reaches 94 % in none of 1 seed: {why}.**" in none
