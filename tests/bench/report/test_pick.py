"""What to pick of classifiers, in sentences; and what a reader must know of the picks."""

from __future__ import annotations

from typing import Any

from bench.core.records import Cold

BATCH_1 = "**Classifiers, each by itself, batch 1, 32 px, cifar10-jpeg**"
SHORT = "Accuracies under the budget quick are those of shortened trainings"


def section(summary: str) -> str:
    return summary.split("## What to pick")[1].split("\n## ")[0]


def picks(summary: str) -> list[str]:
    return [line[2:] for line in section(summary).split("**Read with care**")[0].splitlines() if line.startswith("- ")]


def cautions(summary: str) -> str:
    return section(summary).partition("**Read with care**")[2]


def network(make: Any, milliseconds: float, accuracy: float, megabytes: float, **changes: Any) -> Any:
    facts = {"model": "net", "weight_bytes": round(megabytes * 1e6), **changes}
    return make.inference([milliseconds / 1e3] * 30, accuracy, **facts)


def trained(make: Any, milliseconds: float, labels: tuple[int, ...], megabytes: float, **changes: Any) -> Any:
    """With predictions and the file of weights that a training left."""
    facts = {"artefact": "net.pt", "labels": labels, **changes}
    return network(make, milliseconds, 0.0, megabytes, **facts)


RIGHT = tuple(range(10))
ONE_WRONG = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
ALL_BUT_ONE_WRONG = (1, 2, 3, 4, 5, 6, 7, 8, 8, 9)


def test_each_accuracy_names_the_fastest_and_the_smaller_ones(make: Any, summary_of: Any) -> None:
    rows = [
        network(make, 4.0, 0.92, 44.0),
        network(make, 2.0, 0.92, 44.0, mode="compiled"),
        network(make, 1.0, 0.92, 11.0, precision="int8", mode="compiled", cold=Cold(compile=7.25)),
        network(make, 9.0, 0.91, 6.0, precision="nf4"),
        network(make, 0.5, 0.72, 1.0, model="little"),
    ]
    assert picks(summary_of(*rows)) == [
        "**90 % accuracy and more:** fastest is net int8 compiled (1.00 ms, 2.00 × as fast as fp32 compiled (4.00 × as "
        "fp32 eager), compiled in 7.25 s, 92.00 ± 0.27 %, 11.0 MB, 25.0 % of fp32's); in under 10 MB net nf4 eager "
        "(9.00 ms, 0.444 × as fast as fp32 eager, 91.00 ± 0.29 %, 6.00 MB, 13.6 % of fp32's).",
        "**70 % accuracy and more:** fastest is little fp32 eager (0.500 ms, 72.00 ± 0.45 %, 1.00 MB).",
    ]


def test_what_compiling_gains_alone_is_not_the_precisions(make: Any, summary_of: Any) -> None:
    (line,) = picks(summary_of(network(make, 4.0, 0.92, 44.0), network(make, 2.0, 0.92, 44.0, mode="compiled")))
    assert "fastest is net fp32 compiled (2.00 ms, 2.00 × as fast as fp32 eager, by compiling alone, " in line


def test_an_accuracy_counts_only_if_chance_does_not_explain_it(make: Any, summary_of: Any) -> None:
    rows = [network(make, 1.0, 0.905, 5.0, precision="int8"), network(make, 4.0, 0.95, 44.0)]
    assert picks(summary_of(*rows))[0].startswith("**90 % accuracy and more:** fastest is net fp32 eager")
    surely = [network(make, 1.0, 0.907, 5.0, precision="int8"), network(make, 4.0, 0.95, 44.0)]
    assert picks(summary_of(*surely))[0].startswith("**90 % accuracy and more:** fastest is net int8 eager")


def test_what_is_not_the_fastest_is_not_called_so(make: Any, summary_of: Any) -> None:
    rows = [
        network(make, 1.0, 0.92, 44.0),
        network(make, 1.05, 0.92, 11.0, precision="int8"),
        network(make, 1.02, 0.92, 22.0, precision="bf16"),
    ]
    (line,) = picks(summary_of(*rows))
    assert (
        "smallest of those not told apart from the fastest (net fp32 eager, 1.00 ms; nor is net bf16 eager) is net "
        "int8 eager (1.05 ms" in line
    )
    again = [network(make, 1.001, 0.92, 44.0, repeat=1), network(make, 1.051, 0.92, 11.0, precision="int8", repeat=1)]
    (line,) = picks(summary_of(rows[0], rows[1], *again))
    assert "fastest is net fp32 eager" in line
    assert "not told apart" not in line


def test_level_rows_of_equal_weights_need_no_compiling(make: Any, summary_of: Any) -> None:
    (line,) = picks(summary_of(network(make, 1.05, 0.92, 44.0), network(make, 1.0, 0.92, 44.0, mode="compiled")))
    fastest = "not told apart from the fastest (net fp32 compiled, 1.00 ms)"
    assert f"without compiling, and {fastest}, net fp32 eager (1.05 ms" in line


def test_what_bears_a_name_only_or_has_too_few_samples_is_never_picked(make: Any, summary_of: Any) -> None:
    rows = [
        network(make, 4.0, 0.92, 44.0),
        network(make, 5.0, 0.92, 44.0, mode="compiled"),
        network(make, 1.0, 0.92, 43.0, precision="int8", bits=(8, 32), shares=(0.001, 0.0)),
        make.inference([0.001] * 3, 0.92, model="net", precision="nf4", weight_bytes=5_000_000),
        make.inference([0.001] * 30, 0.92, model="net", precision="fp4", weight_bytes=None),
    ]
    summary = summary_of(*rows)
    (line,) = picks(summary)
    assert "net fp32 eager" in line
    assert not {"int8", "nf4", "fp4"} & set(line.split())
    assert "\n\nNot considered, fewer than six samples: net nf4 eager; weights not counted: net fp4 eager.\n" in summary


def test_other_places_and_batches_are_not_alternatives(make: Any, summary_of: Any) -> None:
    rows = [network(make, 1.0, 0.92, 44.0), network(make, 9.0, 0.92, 11.0, precision="int8", batch_size=8)]
    assert picks(summary_of(*rows)) == []
    assert "no two rows with an accuracy or a decoding speed" in summary_of(*rows)


def test_short_trainings_rank_no_networks(make: Any, summary_of: Any) -> None:
    """Nine of ten lost is beyond two paired errors, one is not."""
    rows = [
        trained(make, 4.0, RIGHT, 44.0),
        trained(make, 1.0, ONE_WRONG, 11.0, precision="int8"),
        trained(make, 9.0, ONE_WRONG, 6.0, precision="fp4"),
        trained(make, 0.5, ALL_BUT_ONE_WRONG, 5.0, precision="nf4"),
        trained(make, 0.1, ONE_WRONG, 1.0, model="little"),
        trained(make, 0.2, ONE_WRONG, 2.0, model="little", mode="compiled"),
    ]
    summary = summary_of(*rows)
    little, net = picks(summary)
    assert little.startswith("**little**, within the error of fp32's accuracy: fastest is fp32 eager (0.100 ms")
    assert little.endswith("; no smaller row considered is within it.")
    assert net.startswith("**net**, within the error of fp32's accuracy: fastest is int8 eager (1.00 ms")
    assert "25.0 % of fp32's, -10.00 ± 9.49 points to fp32); smallest within it is fp4 eager (9.00 ms" in net
    assert "; smaller, but less accurate, is nf4 eager (0.500 ms" in net
    assert "% accuracy and more" not in summary
    assert section(summary).index(SHORT) < section(summary).index(BATCH_1)
    assert SHORT not in cautions(summary)


def test_whole_recipes_and_weights_of_ones_own_are_ranked(make: Any, summary_of: Any) -> None:
    whole = [
        trained(make, ms, RIGHT, 44.0, budget="full", mode=mode) for ms, mode in ((4.0, "eager"), (2.0, "compiled"))
    ]
    assert "% accuracy and more" in picks(summary_of(*whole))[0]
    own = [network(make, 4.0, 0.92, 44.0), network(make, 2.0, 0.92, 44.0, mode="compiled")]
    assert "% accuracy and more" in picks(summary_of(*own))[0]


def test_a_recipe_cut_short_by_hand_ranks_none_either(make: Any, summary_of: Any) -> None:
    facts = {"budget": "full", "artefact": "abc.pt", "recipe": "note4_cnn_small"}
    rows = [trained(make, 4.0, RIGHT, 44.0, **facts), trained(make, 2.0, RIGHT, 44.0, mode="compiled", **facts)]
    cut = make.training(budget="full", options=(("train_images", 8000),))
    assert "**net**" in picks(summary_of(*rows, cut))[0]
    assert "after fewer training images than the recipe has are those of shortened trainings" in summary_of(*rows, cut)
    assert "**net**" not in picks(summary_of(*rows, make.training(budget="full")))[0]


def test_a_short_run_does_not_hide_the_floors_of_a_whole_one(make: Any, summary_of: Any) -> None:
    whole, short = (
        [trained(make, ms, RIGHT, 44.0, budget=budget, mode=mode) for ms, mode in ((4.0, "eager"), (2.0, "compiled"))]
        for budget in ("full", "quick")
    )
    found = picks(summary_of(*whole, *short))
    assert ["% accuracy and more" in line for line in found] == [True, False]


def test_marks_stand_in_the_pick_and_are_counted_by_kind(make: Any, summary_of: Any) -> None:
    late = {"figures": {"criterion_met": 0.0}}
    rows = [
        network(make, 4.0, 0.92, 44.0, **late),
        network(make, 1.0, 0.92, 11.0, precision="int8", **late),
        make.inference([0.008] * 20 + [0.02] * 10, 0.92, model="net", precision="bf16", weight_bytes=22_000_000),
        network(make, 20.0, 0.92, 5.0, precision="nf4"),
    ]
    summary = summary_of(*rows)
    assert "25.0 % of fp32's; *criterion not met*)" in picks(summary)[0]
    told = cautions(summary)
    assert "of 4 rows of inference: criterion not met 2, unstable 1." in told
    assert "1 of 2 bear a mark: net int8 eager at batch 1." in told


def test_picks_without_marks_say_so(make: Any, summary_of: Any) -> None:
    rows = [
        network(make, 4.0, 0.92, 44.0, figures={"criterion_met": 0.0}),
        network(make, 1.0, 0.92, 11.0, precision="int8"),
    ]
    assert "- No pick bears a mark.\n" in cautions(summary_of(*rows))
    assert "mark" not in cautions(summary_of(*rows[1:], network(make, 9.0, 0.92, 44.0)))


def test_one_seed_is_told_from_the_inference_rows_too(make: Any, summary_of: Any) -> None:
    one = "Every network was trained with one seed"
    rows = [trained(make, ms, RIGHT, 44.0, mode=mode) for ms, mode in ((4.0, "eager"), (2.0, "compiled"))]
    assert one in cautions(summary_of(*rows))
    assert one not in cautions(summary_of(*rows, trained(make, 4.0, RIGHT, 44.0, seed=1, artefact="one.pt")))
    assert one not in cautions(
        summary_of(network(make, 4.0, 0.92, 44.0), network(make, 2.0, 0.92, 44.0, mode="compiled"))
    )
