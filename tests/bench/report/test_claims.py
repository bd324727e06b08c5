from __future__ import annotations

from typing import Any

from bench.core.records import Peak
from bench.report.render import render

TRUTH_LOST = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
ALL_LOST = (1, 2, 3, 4, 5, 6, 7, 8, 8, 9)


def fp32(make: Any, **changes: Any) -> Any:
    return measured(make, 2.0, shares=None, bits=(32, 32), precision="fp32", weight_bytes=1000, **changes)


def measured(make: Any, milliseconds: float, **changes: Any) -> Any:
    """A row of one image a call whose throughput follows from its latency, at 1000 FLOPs an image."""
    facts = {
        "precision": "int8",
        "bits": (8, 8),
        "shares": (0.99, 0.99),
        "compute": "int8",
        "weight_bytes": 260,
        "series": {"block_seconds": (milliseconds / 1e3,) * 6},
        "figures": {"throughput": 1e3 / milliseconds, "flops_per_image": 1e9},
    }
    return make.inference([milliseconds / 1e3] * 30, **{**facts, **changes})


def verdicts(make: Any, summary: str, bits: int = 8) -> dict[str, tuple[str, str]]:
    """By the number of the claim: the verdict, and what the rows show."""
    rows = make.table(summary, "what the rows show")
    chosen = [row for row in rows if row["weights"] == f"{bits} bit"]
    return {row["claim"][0]: (row["verdict"], row["what the rows show"]) for row in chosen}


def test_claims_that_hold(make: Any, summary_of: Any) -> None:
    peaks = [(Peak(phase="steady", kind="rss", bytes=size),) for size in (1000, 800)]
    summary = summary_of(fp32(make, peaks=peaks[0]), measured(make, 0.5, peaks=peaks[1]))
    lower = "; in use lower in 1 of 1 at batch 1 (0.53 of fp32's)"  # (260 + 800) / (1000 + 1000)
    found = verdicts(make, summary)
    assert found["1"] == (
        "stored weights: holds; memory in use: lower in 1 of 1 row",
        f"weights 26.0 % of fp32's in 1 network{lower}",
    )
    assert found["2"] == ("holds", "faster in 1 (4.00 ×)")


def test_smaller_weights_may_need_more_memory(make: Any, summary_of: Any) -> None:
    peaks = [(Peak(phase="steady", kind="rss", bytes=size),) for size in (1000, 800, 4000)]
    summary = summary_of(
        fp32(make, peaks=peaks[0]),
        fp32(make, peaks=peaks[0], batch_size=8),
        measured(make, 0.5, peaks=peaks[1]),
        measured(make, 0.5, peaks=peaks[2], batch_size=8),
    )
    words, shown = verdicts(make, summary)["1"]
    assert words == "stored weights: holds; memory in use: lower in 1 of 2 rows"
    assert shown.endswith("in use lower in 1 of 1 at batch 1 (0.53 of fp32's), 0 of 1 at batch 8 (2.13 of fp32's)")


def test_claims_that_do_not_hold_and_cannot_be_judged(make: Any, summary_of: Any) -> None:
    weight_only = {"precision": "nf4_weights", "bits": (4, 32), "shares": (0.99, 0.0), "compute": "float32"}
    summary = summary_of(fp32(make), measured(make, 8.0, weight_bytes=1100, **weight_only))
    assert verdicts(make, summary, bits=4) == {
        "1": ("stored weights: does not hold", "weights 110.0 % of fp32's in 1 network"),
        "2": ("cannot be judged: no row computes less", "of 1 row computing nothing less slower in 1 (0.25 ×)"),
        "3": ("cannot be judged: no row multiplies 50 % of its FLOPs or more in int8", "–"),
    }
    assert set(verdicts(make, summary).values()) == {("cannot be judged: no row with 8-bit weights was measured", "–")}


def test_claims_that_hold_in_some_rows(make: Any, summary_of: Any) -> None:
    weight_only = {"shares": (0.99, 0.0), "compute": "float32", "precision": "int8_weights"}
    summary = summary_of(
        fp32(make),
        measured(make, 1.0),
        measured(make, 4.0, **weight_only),
        measured(make, 2.0, precision="int8_dynamic"),
    )
    assert verdicts(make, summary)["2"] == (
        "holds in 1 of 2",
        "faster in 1 (2.00 ×), not told apart in 1; of 1 row computing nothing less slower in 1 (0.50 ×)",
    )


def test_batch_sizes_are_counted_apart(make: Any, summary_of: Any) -> None:
    summary = summary_of(fp32(make), fp32(make, batch_size=8), measured(make, 1.0), measured(make, 4.0, batch_size=8))
    rows = [row for row in make.table(summary, "what the rows show") if row["weights"] == "8 bit"]
    assert [(row["claim"][0], row["batch"], row["verdict"]) for row in rows[:3]] == [
        ("1", "–", "stored weights: holds"),
        ("2", "1", "holds"),
        ("2", "8", "does not hold"),
    ]
    unjudged = [row for row in rows if row["claim"][0] == "3"]
    assert [row["verdict"] for row in unjudged] == ["cannot be judged: no ceilings were measured"] * 2


def test_what_sixteen_bits_gain_is_not_credited_to_four(make: Any, summary_of: Any) -> None:
    """int4 weights with the rest of the network in bfloat16."""
    mixed = measured(make, 0.5, precision="int4_linear", bits=(4, 16), compute="bfloat16")
    found = verdicts(make, summary_of(fp32(make), measured(make, 0.5), mixed), bits=4)
    assert found["1"][0] == "cannot be judged: rows with 4-bit weights hold the rest of the network in 16 bits"


def test_one_process_does_not_tell_a_tenth(make: Any, summary_of: Any) -> None:
    assert verdicts(make, summary_of(fp32(make), measured(make, 1.85)))["2"][0].startswith(
        "cannot be judged: no row can"
    )
    pairs = [
        one
        for repeat in (0, 1)
        for one in (fp32(make, repeat=repeat), measured(make, 1.85 + repeat / 1e4, repeat=repeat))
    ]
    assert verdicts(make, summary_of(*pairs))["2"] == ("holds", "faster in 1 (1.08 ×)")


def test_the_hardware_is_judged_by_shares_of_two_ceilings(make: Any, summary_of: Any) -> None:
    """1 GFLOP in 2 ms is half of a float32 ceiling of 10^12; in 0.5 ms 2 * 10^12 operations a second."""
    rows = [fp32(make, compute="float32"), measured(make, 0.5)]
    better = verdicts(make, summary_of(*rows, make.ceilings(float32=1e12, int8=2.5e12)))["3"]
    assert better == (
        "holds",
        "higher in 1 (1.60 ×); int8 reaches 80.0 % of its ceiling; 2000.0 × 10^9 operations per second",
    )
    worse = verdicts(make, summary_of(*rows, make.ceilings(float32=1e12, int8=8e12)))["3"]
    assert worse[0] == "does not hold"  # four times as fast, of eight times the ceiling
    assert worse[1].startswith("lower in 1 (0.50 ×); int8 reaches 25.0 % of its ceiling")
    level = verdicts(make, summary_of(*rows, make.ceilings(float32=1e12, int8=3.9e12)))["3"]
    assert level[0] == "cannot be judged: no row can be told apart from fp32"
    throughput_alone = verdicts(make, summary_of(*rows))["3"]
    shown = "2000.0 × 10^9 operations per second"
    assert throughput_alone == ("cannot be judged: no ceilings were measured", shown)


def test_the_hardware_is_judged_by_rows_that_multiply_mostly_in_int8(make: Any, summary_of: Any) -> None:
    ceilings = make.ceilings(float32=1e12, int8=2e12)
    plain = fp32(make, compute="float32")
    for changes in ({"shares": (0.99, 0.49)}, {"compute": "float32"}):
        verdict, shown = verdicts(make, summary_of(plain, measured(make, 0.5, **changes), ceilings))["3"]
        assert (verdict, shown) == ("cannot be judged: no row multiplies 50 % of its FLOPs or more in int8", "–")
    half = summary_of(plain, measured(make, 0.5, shares=(0.99, 0.5)), ceilings)
    assert verdicts(make, half)["3"][0] == "holds"


def test_few_samples_level_rows_and_missing_baselines_judge_nothing(make: Any, summary_of: Any) -> None:
    def verdict(*rows: Any) -> str:
        return verdicts(make, summary_of(*rows))["2"][0]

    few = make.inference([0.001] * 3, precision="int8", bits=(8, 8), shares=(1, 1), compute="int8")
    assert verdict(fp32(make), few) == "cannot be judged: too few samples for an interval"
    assert verdict(fp32(make), measured(make, 2.0)) == "cannot be judged: no row can be told apart from fp32"
    no_baseline = "cannot be judged: no row of fp32 in the same mode to compare with"
    assert verdict(fp32(make), measured(make, 1.0, mode="compiled")) == no_baseline


def test_hardly_converted_and_smoke_rows_are_not_judged(make: Any, summary_of: Any) -> None:
    summary = summary_of(fp32(make), measured(make, 1.0, shares=(0.0005, 0.0), weight_bytes=998))
    assert (
        "Cannot be judged by classifiers: every row with 8-bit or 4-bit weights has hardly converted anything."
        in summary
    )
    nf4 = measured(make, 1.0, shares=(0.01, 0.0), precision="nf4", bits=(4, 32))
    mixed = summary_of(
        fp32(make), measured(make, 1.0, shares=(0.01, 0.0), precision="int8_bnb"), measured(make, 4.0), nf4
    )
    assert verdicts(make, mixed)["2"][0] == "does not hold"
    hardly = "cannot be judged: every row with 4-bit weights has hardly converted anything"
    assert verdicts(make, mixed, bits=4)["1"][0] == hardly
    smoke = summary_of(fp32(make, budget="smoke"), measured(make, 1.0, budget="smoke"), budget="smoke")
    assert "Cannot be judged by classifiers: the smoke budget's figures mean nothing." in smoke
    assert "Cannot be judged by classifiers: no row with 8-bit or 4-bit weights was measured." in summary_of(fp32(make))
    nothing = "Cannot be judged: neither the inference of a classifier nor decoding was measured."
    assert nothing in summary_of(make.training())


def test_machines_have_verdicts_of_their_own(make: Any, tmp_path: Any) -> None:
    paths = [
        make.write(tmp_path / "a.json", [fp32(make), measured(make, 1.0)]),
        make.write(tmp_path / "b.json", [fp32(make), measured(make, 4.0)], machine=make.machine(cpu="Another CPU")),
    ]
    rows = make.table(render(paths, tmp_path / "out").summary.read_text(), "what the rows show")
    speed = {row["machine"]: row["verdict"] for row in rows if row["claim"][0] == "2" and row["weights"] == "8 bit"}
    assert speed == {"M1": "holds", "M2": "does not hold"}


def test_quality_counts_each_set_of_predictions_once(make: Any, summary_of: Any) -> None:
    right = tuple(range(10))
    summary = summary_of(
        fp32(make, labels=right),
        measured(make, 1.0, labels=ALL_LOST),
        measured(make, 1.0, labels=ALL_LOST, batch_size=8),
        measured(make, 1.0, labels=TRUTH_LOST, precision="int8_weights"),
    )
    # Eight of ten lost: 0.8 beyond 2 * sqrt(8 - 6.4) / 10 = 0.25; one of ten: 0.1 within 2 * sqrt(0.9) / 10 = 0.19.
    assert "Accuracy with 8-bit weights: beyond 2 paired standard errors of fp32's in 1 of 2 comparisons" in summary
    assert "in 1 of them a loss, at worst -80.00 ± 12.65 points." in summary
    assert "Accuracy with 4-bit weights" not in summary


def decoding(make: Any, milliseconds: float, precision: str, bits: int, megabytes: int, **changes: Any) -> Any:
    figures = {"weight_bits": bits, **changes.pop("figures", {})}
    facts = {"precision": precision, "figures": figures, "weight_bytes": megabytes * 1_000_000, "device": "cuda:0"}
    return make.decode(milliseconds, **{**facts, **changes})


def test_language_models_are_judged_by_bytes_and_by_the_time_between_tokens(make: Any, summary_of: Any) -> None:
    summary = summary_of(
        decoding(make, 40.0, "fp32", 32, 500),
        decoding(make, 20.0, "bf16", 16, 250),
        decoding(make, 20.5, "int8_linear_bf16", 8, 150),
        decoding(make, 80.0, "nf4", 4, 100),
    )
    found = verdicts(make, summary)
    assert found["1"][0] == "stored weights: holds; memory in use: lower in 1 of 1 row"
    assert found["1"][1].startswith("weights 30.0 % of fp32's in 1 precision; in use lower in 1 of 1 at batch 1")
    assert found["2"] == (
        "holds",
        "against fp32 faster in 1 (1.95 ×); against bf16 not told apart in 1 (0.98 ×); "
        "bf16 against fp32 faster in 1 (2.00 ×)",
    )
    assert verdicts(make, summary, bits=4)["2"][0] == "does not hold"


def test_decoding_on_a_processor_has_a_margin_of_its_own(make: Any, summary_of: Any) -> None:
    rows = [decoding(make, ms, name, bits, 500, device="cpu") for ms, name, bits in ((40.0, "fp32", 32), (21, "i8", 8))]
    assert verdicts(make, summary_of(*rows))["2"][0] == "cannot be judged: no row can be told apart from fp32"


def test_modes_of_decoding_are_not_mixed_and_what_is_not_there_is_told(make: Any, summary_of: Any) -> None:
    other_mode = decoding(make, 10.0, "i8", 8, 100, mode="compiled")
    found = verdicts(make, summary_of(decoding(make, 40.0, "fp32", 32, 500), other_mode))
    assert found["2"][0] == "cannot be judged: no row of fp32 in the same mode to compare with"
    absent = verdicts(make, summary_of(decoding(make, 40.0, "fp32", 32, 500), other_mode), bits=4)
    assert absent["1"][0] == "cannot be judged: no row with 4-bit weights was measured"
    assert "Cannot be judged by language models: no decoding was measured." in summary_of(make.prefill())
    smoke = summary_of(make.decode(budget="smoke"), budget="smoke")
    assert "Cannot be judged by language models: the smoke budget's figures mean nothing." in smoke
