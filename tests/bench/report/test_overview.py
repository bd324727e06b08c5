"""The first lines of a report: title, what was run, and what was left out or not measured."""

from __future__ import annotations

from typing import Any

import pytest


def top(summary: str) -> str:
    return summary.split("\n## ")[0]


@pytest.mark.parametrize(
    ("experiments", "title"),
    [
        (("ladder", "training_step"), "How fast the classifiers train"),
        (("ladder", "noise"), "How fast the classifiers train"),
        (("ladder", "transfer"), "How the classifiers train, and how accurate they become"),
        (("layers",), "What single layers cost"),
        (("ladder", "inference"), "What the classifiers cost, and how accurate they are"),
        (("decode", "noise"), "What the language models cost, and how well they predict"),
        (("decode", "inference"), "What classifiers and language models cost, and how accurate they are"),
    ],
)
def test_the_title_says_what_was_run(make: Any, summary_of: Any, experiments: tuple[str, ...], title: str) -> None:
    failures = [make.failure("error", "ValueError: no", experiment) for experiment in experiments]
    assert summary_of(*failures).startswith(f"# {title}\n")


def test_versions_are_those_of_what_ran(make: Any, summary_of: Any) -> None:
    names = ("torch", "torchvision", "torchao", "bitsandbytes", "transformers", "numpy")
    machine = make.machine(versions=dict.fromkeys(names, "1.0"))

    def versions(*outcomes: Any) -> list[str]:
        return [name for name in names if f" {name} 1.0" in top(summary_of(*outcomes, machine=machine))]

    assert versions(make.inference()) == ["torch", "torchvision", "numpy"]
    quantised = make.decode(precision="nf4", flags={"library": "bitsandbytes"})
    assert versions(make.decode(), quantised) == ["torch", "bitsandbytes", "transformers", "numpy"]
    packed = make.decode(precision="int8", flags={"library": "torchao"})
    assert versions(make.inference(), packed) == ["torch", "torchvision", "torchao", "transformers", "numpy"]


def test_a_resumed_run_tells_the_time_of_its_last_part(make: Any, summary_of: Any) -> None:
    whole = summary_of(make.inference())
    assert "Started 2030-01-02T03:04:05+00:00, took 322 s: 1 cases measured, 0 failed" in top(whole)
    assert "interrupted" not in whole
    later = summary_of(make.inference(), resumed=1, seconds=1.0, case_seconds={make.inference().case.id: 2_293.0})
    started = "The last part of this run started 2030-01-02T03:04:05+00:00 and took 1.00 s: 1 cases measured (1 of them"
    assert started in top(later)
    assert make.table(later, "wall [s]")[0]["worker time [s]"] == "2,293 (resumed cases in it)"
    assert "the wall time is that of its last part" in later
    new = summary_of(make.inference(), resumed=1, seconds=100.0, case_seconds={"another": 90.0})
    assert make.table(new, "wall [s]")[0]["worker time [s]"] == "90.0"


def test_what_was_left_out_is_told_by_precision_and_network(make: Any, summary_of: Any) -> None:
    rows = [make.inference(model=name) for name in ("cnn_small", "resnet18", "cnn_vgg")]
    assert "Left out" not in summary_of(*rows)
    half = [make.inference(model=name, precision="bf16") for name in ("cnn_small", "resnet18")]
    told = top(summary_of(*rows, *half, make.inference(precision="nf4")))
    assert "Left out by budget or selection: bf16 of cnn_vgg; nf4 of all but cnn_small." in told


def test_missing_references_are_told_at_the_top(make: Any, summary_of: Any) -> None:
    bare = summary_of(make.inference())
    assert "No noise floor was measured:" in top(bare)
    assert "fixed margins stand for it (10 %)." in top(bare)
    assert "No ceilings were measured: no row has a share of limit." in top(bare)
    assert "Neither ceilings nor a noise floor were measured." in bare
    assert "ceilings of the machine and a noise floor. Whether" in bare
    decoding = top(summary_of(make.decode()))
    assert "(10 %, decoding on a CPU a factor of 2)" in decoding
    assert "No ceilings were measured: shares of limit go by the bandwidth that decoding rows measured." in decoding


def test_references_are_told_at_the_top(make: Any, summary_of: Any) -> None:
    pair = [make.noise(side, value) for side, value in (("A", 1.0), ("B", 1.25))]
    summary = summary_of(make.inference(), *pair, make.ceilings(float32=1e11))
    floor = "Noise floor: two processes that measured the same thing came up to 25 % apart ([more](#noise-floor))."
    assert floor in top(summary)
    assert "No ceilings" not in summary
    assert "Ceilings and noise floor are measured once a run." in summary
    assert "Not in this report: training of classifiers, single layers, language models, ladders" in summary
    assert "ablations and speedruns. Whether" in summary
    other = make.inference(threads=1)
    assert "25 % apart, where it was measured (" in top(summary_of(make.inference(), other, *pair))


def test_smoke_has_no_floor_to_tell(make: Any, summary_of: Any) -> None:
    told = top(
        summary_of(make.inference(budget="smoke"), make.inference(budget="smoke", model="other", precision="bf16"))
    )
    assert "oise floor" not in told
    assert "eilings" not in told


def test_augmentation_of_a_recipe_that_trained_nothing_is_an_example(make: Any, summary_of: Any) -> None:
    data = [make.dataset(augmented_by="note4_cnn_small")]
    assert "augmented as recipe note4_cnn_small does it, before" in summary_of(make.training(), datasets=data)
    told = summary_of(make.training(recipe="note4_resnet18"), datasets=data)
    assert "augmented as, for example, recipe note4_cnn_small does it, by which nothing here was trained," in told
