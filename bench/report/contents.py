"""What every section of the report is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from bench.report.groups import Group
from bench.report.language_lines import LanguageGroup
from bench.report.load import DatasetFacts, Run
from bench.report.markdown import ABSENT, escape
from bench.report.names import Names
from bench.report.rows import IDENTITY, PLACE, Row

SHORT = {"image size [px]": "input [px]", "batch size": "batch", "dataset": "data set"}
"""Table headers of identity columns, where they differ from the frame's."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file in the report's folder of figures."""

    file: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Contents:
    """One report: the runs, their frame, the files that were refused, the pictures, and where documents lie."""

    runs: tuple[Run, ...]
    refused: tuple[str, ...]
    frame: pd.DataFrame
    inferences: tuple[Row, ...]
    layers: tuple[Row, ...]
    trainings: tuple[Group, ...]
    languages: tuple[LanguageGroup, ...]
    names: Names
    datasets: tuple[DatasetFacts, ...]
    method: str | None
    """Relative link to docs/method.md; None where the report lies outside the checkout."""
    pictures: Mapping[tuple[str, str], Picture] = field(default_factory=dict)
    """By kind of picture, and by what of that kind is drawn: see `bench.report.pictures`."""

    def picture(self, kind: str, key: str, text: str) -> str:
        """An image, or nothing if there is none. ``text``, which is Markdown, stands where it cannot be seen."""
        found = self.pictures.get((kind, key))
        return f"![{text}](figures/{found.file})" if found else ""

    @property
    def experiments(self) -> frozenset[str]:
        """Of all cases, whether they gave a measurement or not."""
        return frozenset().union(*(run.experiments for run in self.runs))


Section = Callable[[Contents], str]
"""A part of summary.md, heading included; empty where there is nothing to say."""


def varying(rows: Sequence[Row], shown: Sequence[str]) -> list[str]:
    """The identity columns beyond ``shown`` that tell some rows of a table apart.

    Pipeline and options say little to a reader: they are shown only where rows would look alike without them.
    """
    rest = [name for name in IDENTITY if name not in (*shown, "experiment", "pipeline", "options")]
    columns = [name for name in rest if len({row[name] for row in rows}) > 1]
    for name in ("pipeline", "options"):
        alike = len({tuple(row[column] for column in (*shown, *columns)) for row in rows}) < len(rows)
        if name not in shown and alike and len({row[name] for row in rows}) > 1:
            columns.append(name)
    return columns


def common_line(contents: Contents, rows: Sequence[Row], columns: Sequence[str]) -> str:
    """One Markdown line with what all rows share in ``columns``; empty if nothing."""
    told = [name for name in columns if name != "machine" or len(set(contents.names.machines.values())) > 1]
    shared = [name for name in told if len({row[name] for row in rows}) == 1 and rows[0][name] is not None]
    facts = ", ".join(f"{SHORT.get(name, name)} {escape(str(rows[0][name]))}" for name in shared)
    return f"All rows: {facts}." if facts else ""


def headers(columns: Sequence[str]) -> list[str]:
    """What tables call the identity columns ``columns``."""
    return [SHORT.get(name, name) for name in columns]


def identity_cells(row: Row, columns: Sequence[str]) -> dict[str, str]:
    return {SHORT.get(name, name): ABSENT if row[name] is None else str(row[name]) for name in columns}


def place_words(rows: Sequence[Row], row: Row) -> list[str]:
    """What of the place of ``row`` is not the same in all ``rows``, as plain text."""
    names = [name for name in PLACE if len({other[name] for other in rows}) > 1]
    return [f"{SHORT.get(name, name)} {row[name]}" for name in names]
