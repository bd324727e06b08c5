from __future__ import annotations

import re
from typing import Any

import pytest

from bench.report.tables.conversations import spoken

EVIL = "</details>\n# heading\n- | one | `two`\n\n    code <b>\n```\n[link](x) $x$ **bold** &lt; __init__\n---"


def test_each_precision_has_its_fold_with_every_turn(make: Any, summary_of: Any) -> None:
    summary = summary_of(
        make.chat(), make.chat((1, 9), precision="nf4"), make.chat(precision="bf16"), make.chat((9,), precision="fp4")
    )
    titles = re.findall("<details><summary>(.*)</summary>", summary)
    assert titles == [
        "smollm2-135m, fp32 eager: what the others are held against",
        "smollm2-135m, bf16 eager: the same as fp32 in all 5 tokens",
        "smollm2-135m, fp4 eager: parts from fp32 at the first token",
        "smollm2-135m, nf4 eager: parts from fp32 in turn 1, after 1 token alike",
    ]
    fold = summary.split("<details>")[1]
    speakers = re.findall(r"^\*\*(.*?)\*\*<br>", fold, flags=re.MULTILINE)
    assert speakers == ["system", "user 1", "assistant 1", "user 2", "assistant 2"]
    assert "no fp32 answer to hold it against" in summary_of(make.chat(precision="nf4"))


def test_the_operators_of_a_trace_are_no_turns_and_its_file_no_caveat(make: Any, summary_of: Any) -> None:
    notes = ("4-bit already", "trace: profiles/a/b.json")
    traced = {"texts": {"operator 1": "aten::mm | 3 | 0.5 | 0.75"}, "notes": notes}
    alone = summary_of(make.decode(**traced))
    assert "<details><summary>smollm2" not in alone
    assert "with this: trace" not in alone
    assert "; trace" not in alone
    beside = summary_of(make.chat(), make.decode(**traced))
    assert "**operator 1**" not in beside


def test_no_message_breaks_out_of_its_fold(make: Any, summary_of: Any) -> None:
    summary = summary_of(make.chat(said=EVIL))
    assert (summary.count("<details>"), summary.count("</details>")) == (1, 1)
    fold = summary.split("<details>")[1].split("</details>")[0]
    paragraphs = fold.split("\n\n")[1:-1]
    assert len(paragraphs) == 5
    assert all(part.startswith("**") and "\n" not in part for part in paragraphs)
    said = paragraphs[2].removeprefix("**assistant 1**")
    assert not set("|`[]$*\\") & set(said)
    assert set(re.findall("<[^>]*>", said)) == {"<br>"}


def test_neither_does_the_name_of_a_model(make: Any, summary_of: Any) -> None:
    assert "<details><summary>/a&lt;/summary&gt;&#124;b, fp32" in summary_of(make.chat(model="/a</summary>|b"))


def test_long_messages_are_kept_whole(make: Any, summary_of: Any) -> None:
    said = "word " * 5_000 + "end"
    assert said in summary_of(make.chat(said=said))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n\n  b\tc", "a<br><br>&nbsp;&nbsp;b\tc"),
        ("\tx", "&nbsp;&nbsp;&nbsp;&nbsp;x"),
        ("a\r\nb\u2028c", "a<br>b<br>c"),
        ("", ""),
        ("half \ud83d", "half ?"),
    ],
)
def test_lines_and_their_indents_stay(text: str, line: str) -> None:
    assert spoken(text) == line
