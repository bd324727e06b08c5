"""What to pick: the fastest, and the smaller ones, by differences that show; and how to train."""

from __future__ import annotations

from bench.report.contents import Contents
from bench.report.markdown import bullets
from bench.report.tables import findings, pick_classifiers, pick_languages, pick_trainings

TITLE = "## What to pick"


def section(contents: Contents) -> str:
    """The second thing that a reader sees: sentences only, then what to be careful about."""
    classifiers, languages = pick_classifiers.picks(contents), pick_languages.picks(contents)
    lines = [*classifiers.lines, *languages.lines, *pick_trainings.lines(contents)]
    picked = [*classifiers.rows, *languages.rows]
    careful = findings.cautions(contents, picked, shortened_told=bool(classifiers.lines))
    if not lines:
        return "\n\n".join(filter(None, (TITLE, f"{_why_nothing(contents)}.", bullets(careful))))
    return "\n\n".join((TITLE, *lines, *(("**Read with care**", bullets(careful)) if careful else ())))


def _why_nothing(contents: Contents) -> str:
    if not len(contents.frame):
        return "Nothing: nothing was measured"
    if set(contents.frame["budget"]) == {"smoke"}:
        return "Nothing: the smoke budget's figures mean nothing"
    return "Nothing: no two rows with an accuracy or a decoding speed can be held against one another"
