"""Files in, report out: DIR/summary.md, DIR/index.html, DIR/measurements.csv and DIR/figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.report.content import Content
from bench.report.judging import margins_of
from bench.report.load import load_all
from bench.report.parts import Part, Pictures, Section, walk
from bench.report.printers.console import screen
from bench.report.printers.csv import csv_of
from bench.report.printers.html import page
from bench.report.printers.markdown import document
from bench.report.sections.answer import answer
from bench.report.sections.classifiers import classifiers_section
from bench.report.sections.comparisons import (
    ablation_section,
    loading_section,
    scaling_section,
    speedrun_section,
    steps_section,
    transfer_section,
)
from bench.report.sections.crossover import crossover_section
from bench.report.sections.ladder import ladder_section
from bench.report.sections.languages import languages_section
from bench.report.sections.machine import machine_section
from bench.report.sections.method import method_section
from bench.report.sections.pictures import curves_section, pictures_section
from bench.report.sections.rest import claims_section, failures_section, layers_section, profiles_section
from bench.report.sections.sensitivity import sensitivity_section
from bench.report.sections.training import training_section

CHECKOUT = Path(__file__).resolve().parents[2]
FIGURES = "figures"
KINDS = (
    *("answer-", "augmented-", "crossover-", "decoding-", "learning-curves-", "memory-", "sensitivity-"),
    *("accuracy-", "language-", "latencies-", "layers-"),
)
"""Begins of the names of our pictures, those of earlier versions too: nothing else in their folder is ours."""
INPUTS = "inputs.txt"
"""Beside a report inside the checkout: the files that it was made from, one a line, from the checkout's root."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Place of the report, its first screen, and one line for each file that could not be used."""

    summary: Path
    screen: str
    refused: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A report that is not written yet: content by path from its folder, the summary last."""

    files: Mapping[str, bytes]
    screen: str
    refused: tuple[str, ...]


def render(paths: Sequence[Path], out: Path, max_drop: str | None = None) -> Rendered:
    """Write the report of the runs in ``paths`` into the folder ``out``.

    Raises:
        InputError: none of the files can be used (the message has one line for each), or ``out`` cannot be written.
    """
    composed = compose(paths, out, max_drop)
    try:
        _write(out, composed.files)
    except OSError as error:
        raise InputError(
            f"{out} cannot hold the report ({error.strerror}): name a folder that can be written."
        ) from error
    return Rendered(summary=out / "summary.md", screen=composed.screen, refused=composed.refused)


def compose(paths: Sequence[Path], out: Path, max_drop: str | None = None) -> Composed:
    """The report of the runs in ``paths`` as it is to lie in ``out``, which its links depend on. Nothing is written.

    Raises:
        InputError: none of the files can be used; the message has one line for each.
    """
    runs, refused = load_all(paths)
    if not runs:
        raise InputError("\n".join(refused))
    margins = margins_of(runs, max_drop)
    content = Content(runs=runs, refused=refused, margins=margins, method=_method_link(out))
    sections = sections_of(content)
    drawn = {
        f"{FIGURES}/{picture.file}": picture.content
        for part in walk(sections)
        if isinstance(part, Pictures)
        for picture in part.pictures
    }
    texts = {
        "measurements.csv": csv_of(content.results, content.failures),
        "index.html": page(sections),
        INPUTS: _inputs(paths, out),
        "summary.md": document(sections),
    }
    # Half a surrogate pair, which JSON may hold, cannot be written.
    written = {name: text.encode(errors="replace") for name, text in texts.items() if text is not None}
    return Composed(files={**drawn, **written}, screen=screen(sections[0]), refused=refused)


def sections_of(content: Content) -> list[Section]:
    """The whole report: its title's section with all others inside."""
    first = answer(content)
    learning = (
        ladder_section(content),
        steps_section(content),
        loading_section(content),
        transfer_section(content),
        ablation_section(content),
        speedrun_section(content),
        scaling_section(content),
        curves_section(content),
    )
    others: list[Part | None] = [
        pictures_section(content),
        classifiers_section(content),
        crossover_section(content),
        sensitivity_section(content),
        languages_section(content),
        training_section(content, learning),
        claims_section(content),
        layers_section(content),
        failures_section(content),
        machine_section(content),
        profiles_section(content),
        method_section(content),
    ]
    return [first, *(section for section in others if isinstance(section, Section))]


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
    for old in folder.iterdir():
        if old.name.startswith(KINDS) and f"{FIGURES}/{old.name}" not in files:
            old.unlink()


def replace(path: Path, content: bytes) -> None:
    """Write beside and rename: a reader never sees half a file.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    beside = path.with_name(f".{path.name}.partial")
    beside.write_bytes(content)
    beside.replace(path)
