"""What every section of the report is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.groups import Group
from bench.report.language_lines import LanguageGroup
from bench.report.load import DatasetFacts, Run
from bench.report.markdown import ABSENT, escape
from bench.report.names import Names
from bench.report.rows import IDENTITY, Row

SHORT = {"image size [px]": "input [px]", "batch size": "batch", "dataset": "data set"}
"""Table headers of identity columns, where they differ from the frame's."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """One report: the runs, their frame, the files that were refused, and where pictures and documents lie."""

    runs: tuple[Run, ...]
    refused: tuple[str, ...]
    frame: pd.DataFrame
    inferences: tuple[Row, ...]
    layers: tuple[Row, ...]
    trainings: tuple[Group, ...]
    languages: tuple[LanguageGroup, ...]
    names: Names
    datasets: tuple[DatasetFacts, ...]
    pictures: Mapping[str, str]
    """Link of the augmented picture of a data set, by its name."""
    curves: Mapping[str, str]
    """Link of the learning curves, by data set name."""
    layer_pictures: Mapping[str, str]
    """Link of the speed-ups of single layers, by the kind of layer."""
    language_pictures: Mapping[str, str]
    """Link of the decoding speeds of a language model, by its name."""
    method: str | None
    """Relative link to docs/method.md; None where the report lies outside the checkout."""

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


def identity_cells(row: Row, columns: Sequence[str]) -> dict[str, str]:
    return {SHORT.get(name, name): ABSENT if row[name] is None else str(row[name]) for name in columns}
