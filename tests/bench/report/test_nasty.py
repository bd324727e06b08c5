"""Whatever names, notes and messages say: the report keeps its shape, and shows them as they are."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from bench.report.markdown import escape, unblocked
from bench.report.render import render

NASTY = (
    "a|b",
    "`code` and ``more``",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "first\nsecond\r\n\r\n# third\n| a | b |\n|---|---|",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "> quote",
    "===",
    "---",
    "```",
    "    code",
    "[text](javascript:alert(1))",
    "![text](x.png)",
    "**bold** _it_ __b__ ~~gone~~",
    "\\|\\`\\",
    "&lt;b&gt; &#124;",
    "$x$ $$y$$ @someone",
    "</details></summary>",
    "<!-- ",
    "\u2028line\u2029paragraph\x0b\x0c\x85",
    "\u202eright to left",
)
_KINDS = re.compile(r"(#+ |\||- |\d+[.)] |[+*] |> ?|!\[|<details><summary>|</details>|```|~~~|={3,}|-{3,}| {4}|\t|)")
_OWN = re.compile(r"<br>|</?details>|</?summary>")


def outcomes(make: Any, text: str) -> list[Any]:
    """Every experiment, with ``text`` wherever a user or a library chooses the words."""
    told: dict[str, Any] = {"notes": (text,), "absent": {"energy_joules_per_item": text}}
    named = {"model": text, "recipe": text, "precision": text}
    language = {"model": text, "caveat": text}
    return [
        make.training(recipe=text, model=text),
        make.inference([0.002] * 30, model=text, **told),
        make.inference([0.001] * 30, bits=(8, 32), shares=(1.0, 1.0), compute=text, **named, **told),
        make.layer(model=text, **told),
        make.layer(model=text, precision=text, shares=(0.5, 0.5)),
        *(make.load_of(precision=name, **language) for name in ("fp32", text)),
        *(make.prefill(precision=name, **language) for name in ("fp32", text)),
        *(make.decode(precision=name, flags={"library": text, "compute": text}, **language) for name in ("fp32", text)),
        *(make.perplexity((300, 310, 140), precision=name, **language) for name in ("fp32", text)),
        *(make.chat(said=text, precision=name, **language) for name in ("fp32", text)),
        make.failure("error", text, model=text),
        make.failure("unsupported", text, precision=text),
    ]


def summary(make: Any, folder: Path, text: str) -> str:
    machine = make.machine(cpu=text, device_name=text, platform=text, versions={"torch": text, text: text})
    suite = {
        "machine": machine,
        "command": text,
        "commit": text,
        "started": text,
        "budget": text,
        "datasets": [make.dataset(name=text, classes=[text, "other"], augmented_by=text)],
        "language_models": [make.language_model(name=text, source=text, digest=text, caveat=text)],
        "texts": [{"name": "python-topics", "digest": text, "characters": 9}],
    }
    return render([make.write(folder / "run.json", outcomes(make, text), **suite)], folder / "out").summary.read_text()


def shape(markdown: str) -> list[str]:
    """What each line is to Markdown, and how many cells a line of a table has."""
    found = []
    for line in markdown.splitlines():
        kind = _KINDS.match(line)
        assert kind is not None
        found.append(f"{kind[1].strip() or '-' * bool(line)}{line.count('|') if line.startswith('|') else ''}")
    return found


@pytest.mark.parametrize("text", NASTY)
def test_no_name_note_or_message_changes_the_shape(make: Any, tmp_path: Path, text: str) -> None:
    nasty, plain = summary(make, tmp_path / "nasty", text), summary(make, tmp_path / "plain", "plain")
    assert shape(nasty) == shape(plain)
    rest = _OWN.sub("", nasty)
    assert "<" not in rest
    assert set(re.findall(r"!?\[[^\]]*\]\(([^)]*)\)", nasty)) == {
        re.sub("plain", _file_name(text), link) for link in re.findall(r"!?\[[^\]]*\]\(([^)]*)\)", plain)
    }


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "data"


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "1. a", "2) a", "===", "---", "-", "#", "* a", "> a", "~~~"])
def test_no_text_begins_a_block(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"before\n\n{unblocked(escape(text))}\n")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"] * 2
    assert html.unescape(tokens[4].content) == text


@pytest.mark.parametrize("text", ["-0.86 ± 1.34", "+1.00", "1.50", "2030-01-02"])
def test_numbers_stay_as_they_are(text: str) -> None:
    assert unblocked(escape(text)) == text
