"""Files in, report out: DIR/summary.md, DIR/index.html, DIR/measurements.csv and DIR/figures."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.report.contents import Contents
from bench.report.files import replace
from bench.report.frame import rows_of, tidy
from bench.report.groups import training_groups
from bench.report.language_lines import EXPERIMENTS, language_groups, of_language_alone
from bench.report.load import Run, load_all
from bench.report.measurements import csv_of, measurements
from bench.report.names import distinct_datasets, names_of
from bench.report.page import networks
from bench.report.page.document import index_html
from bench.report.pictures import PICTURES, pictures_of
from bench.report.tables import SECTIONS

CHECKOUT = Path(__file__).resolve().parents[2]
FIGURES = "figures"
INPUTS = "inputs.txt"
"""Beside a report inside the checkout: the files that it was made from, one a line, from the checkout's root."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Where the report lies, and one line for each file that could not be used."""

    summary: Path
    refused: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A report that is not written yet: content by path from its folder, the summary last."""

    files: Mapping[str, bytes]
    refused: tuple[str, ...]


def render(paths: Sequence[Path], out: Path) -> Rendered:
    """Write the report of the runs in ``paths`` into the folder ``out``.

    Raises:
        InputError: none of the files can be used (the message has one line for each), or ``out`` cannot be written.
    """
    composed = compose(paths, out)
    try:
        _write(out, composed.files)
    except OSError as error:
        raise InputError(
            f"{out} cannot hold the report ({error.strerror}): name a folder that can be written."
        ) from error
    return Rendered(summary=out / "summary.md", refused=composed.refused)


def compose(paths: Sequence[Path], out: Path) -> Composed:
    """The report of the runs in ``paths`` as it is to lie in ``out``, which its links depend on. Nothing is written.

    Raises:
        InputError: none of the files can be used; the message has one line for each.
    """
    runs, refused = load_all(paths)
    if not runs:
        raise InputError("\n".join(refused))
    contents = _contents(runs, refused, _method_link(out))
    contents = dataclasses.replace(contents, pictures=pictures_of(contents))
    summary = "\n\n".join(filter(None, (section(contents) for section in SECTIONS))) + "\n"
    drawn = {f"{FIGURES}/{picture.file}": picture.content for picture in contents.pictures.values()}
    texts = {
        "measurements.csv": csv_of(measurements(contents.frame, runs)),
        "index.html": index_html(f"{summary}\n{networks.section(contents)}", drawn),
        INPUTS: _inputs(paths, out),
        "summary.md": summary,
    }
    # Half a surrogate pair, which JSON may hold, cannot be written.
    written = {name: text.encode(errors="replace") for name, text in texts.items() if text is not None}
    files = {**drawn, **written}
    return Composed(files=files, refused=refused)


def _contents(runs: tuple[Run, ...], refused: tuple[str, ...], method: str | None) -> Contents:
    looking = not all(of_language_alone(run.experiments) for run in runs)
    datasets = distinct_datasets(runs) if looking else ()
    frame = tidy(runs)
    return Contents(
        runs=runs,
        refused=refused,
        frame=frame,
        inferences=tuple(rows_of(frame, "inference")),
        layers=tuple(rows_of(frame, "layers")),
        trainings=tuple(training_groups(rows_of(frame, "training"), datasets)),
        languages=language_groups([row for name in EXPERIMENTS for row in rows_of(frame, name)]),
        names=names_of(runs),
        datasets=datasets,
        method=method,
    )


def _method_link(out: Path) -> str | None:
    """From ``out`` to docs/method.md; None outside the checkout, where a link would lead nowhere."""
    folder = out.resolve()
    if not folder.is_relative_to(CHECKOUT):
        return None
    return Path(os.path.relpath(CHECKOUT / "docs" / "method.md", folder)).as_posix()


def _inputs(paths: Sequence[Path], out: Path) -> str | None:
    """None where the report or one of its files lies outside the checkout: another checkout could not find it."""
    places = [path.resolve() for path in dict.fromkeys(paths)]
    if not all(place.is_relative_to(CHECKOUT) for place in (out.resolve(), *places)):
        return None
    return "".join(f"{place.relative_to(CHECKOUT).as_posix()}\n" for place in places)


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """The summary comes last, so that it never names a figure that is not there. Figures of an earlier report go."""
    folder = out / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        replace(out / name, content)
    for kind, (suffix, _) in PICTURES.items():
        for old in folder.glob(f"{kind}-*{suffix}"):
            if f"{FIGURES}/{old.name}" not in files:
                old.unlink()
