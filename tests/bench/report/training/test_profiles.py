from __future__ import annotations

import dataclasses
from typing import Any

OPERATORS = {
    "operator 1": "aten::a | b | 12 | 0.25 | 0.5",
    "operator 2": "aten::mul | 1200 | 2.5e-05 | 0.0005",
    "operator 3": "nothing to read",
}


def traced(make: Any, **changes: Any) -> Any:
    note = "traced into results/profiles/ab12.json"
    return dataclasses.replace(make.inference(**changes), texts=OPERATORS, notes=(note,))


def test_operators_of_a_traced_case(make: Any, summary_of: Any) -> None:
    summary = summary_of(traced(make, batch_size=64), make.inference())
    assert make.table(summary, "operator") == [
        {"operator": "aten::a &#124; b", "calls": "12", "self time [ms] ↓": "250", "share [%]": "50.0"},
        {"operator": "aten::mul", "calls": "1,200", "self time [ms] ↓": "0.0250", "share [%]": "0.05"},
    ]
    assert summary.count("### inference of cnn_small, fp32 eager, batch 64") == 1
    assert (
        "**aten::a &#124; b takes most, 50.0 % of all self time; the 2 shown take 50.0 %.** "
        "traced into results/profiles/ab12.json" in summary
    )


def test_a_table_a_case(make: Any, summary_of: Any) -> None:
    summary = summary_of(traced(make), traced(make, mode="compiled"))
    section = summary.split("## Profiles")[1].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("###")] == [
        "### inference of cnn_small, fp32 eager, batch 1",
        "### inference of cnn_small, fp32 compiled, batch 1",
    ]
    assert "## Profiles" not in summary_of(make.inference())


def test_operators_are_nothing_that_a_language_model_said(make: Any, summary_of: Any) -> None:
    chat = make.chat()
    summary = summary_of(dataclasses.replace(chat, texts={**chat.texts, **OPERATORS}))
    conversation = summary.split("<details>")[1].split("</details>")[0]
    assert "Hello." in conversation
    assert "aten" not in conversation
    assert "## Profiles" in summary
