"""What the models said, folded away: whole, and so that nothing that is said can break out of its fold."""

from __future__ import annotations

from bench.report.language_lines import LanguageGroup, LanguageLine
from bench.report.markdown import escape
from bench.report.operators import is_operator
from bench.report.parting import parting
from bench.report.rows import Row

TEXT = (
    "What it answered, greedily, to the same questions. A good answer is no measurement, and a poor one of "
    "a small model none of its precision."
)


def parts(group: LanguageGroup) -> list[str]:
    said = [(line, row) for line in group.lines for row in line.of("chat") if row["texts"]]
    if not said:
        return []
    return [f"**Conversations.** {TEXT}", *(_fold(group, line, row) for line, row in said)]


def spoken(text: str) -> str:
    """``text`` as one line of Markdown: no line of its own could begin a block, and spaces at a line's start stay."""
    readable = text.encode("utf-8", "replace").decode()  # half a surrogate pair could not be written to a file
    return "<br>".join(_line(line) for line in readable.splitlines())


def _line(line: str) -> str:
    rest = line.lstrip()
    return "&nbsp;" * (len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())) + escape(rest)


def _fold(group: LanguageGroup, line: LanguageLine, row: Row) -> str:
    title = escape(f"{group.model}, {line.name}: {_parted(group, row)}")
    said = {speaker: text for speaker, text in row["texts"].items() if not is_operator(speaker)}
    turns = [f"**{escape(speaker)}**<br>{spoken(text)}" for speaker, text in said.items()]
    return "\n\n".join((f"<details><summary>{title}</summary>", *turns, "</details>"))


def _parted(group: LanguageGroup, row: Row) -> str:
    reference = group.reference(row)
    if reference is row:
        return "what the others are held against"
    found = parting(row, reference) if reference else None
    if found is None:
        return "no fp32 answer to hold it against"
    if found.turn is None:
        return f"the same as fp32 in all {found.tokens} tokens"
    if found.tokens == 0:
        return "parts from fp32 at the first token"
    return f"parts from fp32 in turn {found.turn}, after {found.tokens} token{'s' * (found.tokens > 1)} alike"
