"""Pipe tables of the summary as HTML. Their cells have no bare ``|``: `markdown.table` has escaped them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_ONE_LINE = 32
"""Characters up to which words stay on one line; columns with longer ones are broken, and wide enough to read."""


@dataclass(frozen=True, kw_only=True)
class PipeTable:
    """A table as Markdown has it: cells are Markdown, columns of words stand to the left."""

    columns: tuple[str, ...]
    words: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> tuple[str, ...]:
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)


def parse(markdown: str) -> PipeTable:
    head, marks, *body = (_cells(line) for line in markdown.splitlines())
    return PipeTable(columns=head, words=tuple(not mark.endswith(":") for mark in marks), rows=tuple(body))


def joined(tables: Iterable[PipeTable]) -> list[PipeTable]:
    """Tables that were split since a page of Markdown is narrow, as one again.

    Such tables follow each other, and have the same cells in all columns that both have.
    """
    found: list[PipeTable] = []
    for table in tables:
        whole = _side_by_side(found[-1], table) if found else None
        found = [*found[:-1], whole] if whole else [*found, table]
    return found


def table_html(table: PipeTable, inline: Callable[[str], str], heading: str | None) -> str:
    """``inline`` renders a cell; the table is named by the ``heading`` whose id is given.

    End tags of rows and cells are left out, as HTML allows: in a long report they would be a third of the file.
    """
    kinds = [_kind(words, table.column(name)) for words, name in zip(table.words, table.columns, strict=True)]
    heads = [
        f'<th scope="col"{kind}>{inline(_unbroken(name))}' for name, kind in zip(table.columns, kinds, strict=True)
    ]
    starts = [f"<td{kind}>" for kind in kinds]
    rows = "\n".join([_row(starts, cells, inline) for cells in table.rows])
    named = f' aria-labelledby="{heading}"' if heading else ""
    return (
        f'<div class="scroll" role="region" tabindex="0"{named}>'
        f"<table{named}><thead><tr>{''.join(heads)}<tbody>\n{rows}</table></div>\n"
    )


def _cells(line: str) -> tuple[str, ...]:
    return tuple([cell.strip() for cell in line[1:-1].split("|")])


def _side_by_side(one: PipeTable, other: PipeTable) -> PipeTable | None:
    shared = [name for name in other.columns if name in one.columns]
    if not shared or any(one.column(name) != other.column(name) for name in shared):
        return None
    new = [place for place, name in enumerate(other.columns) if name not in shared]
    pairs = zip(one.rows, other.rows, strict=True)
    return PipeTable(
        columns=(*one.columns, *(other.columns[place] for place in new)),
        words=(*one.words, *(other.words[place] for place in new)),
        rows=tuple((*row, *(more[place] for place in new)) for row, more in pairs),
    )


def _kind(words: bool, cells: Sequence[str]) -> str:
    """The class of a column: none for numbers, ``w`` for words, ``t`` besides for text."""
    if not words:
        return ""
    return ' class="w t"' if max(map(len, cells), default=0) > _ONE_LINE else " class=w"


def _unbroken(name: str) -> str:
    """A header whose arrow never stands on a line of its own."""
    return name.replace(" ↑", "\N{NO-BREAK SPACE}↑").replace(" ↓", "\N{NO-BREAK SPACE}↓")


def _row(starts: Sequence[str], cells: Sequence[str], inline: Callable[[str], str]) -> str:
    return "<tr>" + "".join([start + inline(cell) for start, cell in zip(starts, cells, strict=True)])
