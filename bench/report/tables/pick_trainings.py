"""How to train each network that was taken up a ladder."""

from __future__ import annotations

from bench.report.contents import Contents
from bench.report.frame import rows_of, sorted_failures
from bench.report.ladders import Ladder, ladders
from bench.report.markdown import bullets, escape
from bench.report.rows import is_meaningless
from bench.report.seeds import ratio_cell, seeds_words


def lines(contents: Contents) -> list[str]:
    """Blocks of Markdown; none where no ladder was measured."""
    failures = [pair for pair in sorted_failures(contents.runs) if pair[1].case.experiment == "ladder"]
    found = ladders(rows_of(contents.frame, "ladder"), failures, contents.datasets)
    told = [line for ladder in found if (line := _line(ladder))]
    title = "**Training**, by medians of images a second ([each step of it](#training-made-faster))"
    return [title, bullets(told)] if told else []


def _line(ladder: Ladder) -> str:
    start, fastest = ladder.start, ladder.best or ladder.fastest
    if is_meaningless(ladder.first) or start is None or fastest is None:
        return ""
    model, slow, quick = (
        escape(words) for words in (ladder.first["model"], ", ".join(start.words), ", ".join(fastest.words))
    )
    gained = ladder.over_start(fastest)
    if gained is None:
        return f"**{model}:** nothing trains faster than {slow}."
    ratio = f"{ratio_cell(gained)} times as fast as {slow}; {seeds_words(gained.processes)}"
    if gained.side != "above":
        return f"**{model}:** no difference that shows; by the median {quick} is the fastest ({ratio})."
    return f"**{model}:** fastest is {quick} ({ratio})."
