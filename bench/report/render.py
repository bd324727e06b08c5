"""Files in, report out: DIR/summary.md, DIR/index.html, DIR/measurements.csv and DIR/figures."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import InputError
from bench.report.contents import Contents
from bench.report.figures import learning_curves
from bench.report.files import replace
from bench.report.frame import rows_of, tidy
from bench.report.groups import Group, training_groups
from bench.report.language_figures import decoding_figure
from bench.report.language_lines import EXPERIMENTS, LanguageGroup, language_groups, of_language_alone
from bench.report.layer_figures import speed_up_figure
from bench.report.load import DatasetFacts, load_all
from bench.report.measurements import csv_of, measurements
from bench.report.names import distinct_datasets, names_of
from bench.report.page import networks
from bench.report.page.document import index_html
from bench.report.rows import Row, grouped
from bench.report.tables import SECTIONS

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Where the report lies, and one line for each file that could not be used."""

    summary: Path
    refused: tuple[str, ...]


def render(paths: Sequence[Path], out: Path) -> Rendered:
    """Write the report of the runs in ``paths`` into the folder ``out``.

    Raises:
        InputError: none of the files can be used (the message has one line for each), or ``out`` cannot be written.
    """
    runs, refused = load_all(paths)
    if not runs:
        raise InputError("\n".join(refused))
    looking = not all(of_language_alone(run.experiments) for run in runs)
    datasets = distinct_datasets(runs) if looking else ()
    pictures = _pictures(datasets)
    frame = tidy(runs)
    trainings = training_groups(rows_of(frame, "training"), datasets)
    curves = _curves(trainings)
    layers = rows_of(frame, "layers")
    layer_pictures = _layer_pictures(layers)
    languages = language_groups([row for name in EXPERIMENTS for row in rows_of(frame, name)])
    language_pictures = _language_pictures(languages)
    contents = Contents(
        runs=runs,
        refused=refused,
        frame=frame,
        inferences=tuple(rows_of(frame, "inference")),
        layers=tuple(layers),
        trainings=tuple(trainings),
        languages=languages,
        names=names_of(runs),
        datasets=datasets,
        pictures={key: f"figures/{name}" for key, (name, _) in pictures.items()},
        curves={key: f"figures/{name}" for key, (name, _) in curves.items()},
        layer_pictures={key: f"figures/{name}" for key, (name, _) in layer_pictures.items()},
        language_pictures={key: f"figures/{name}" for key, (name, _) in language_pictures.items()},
        method=_method_link(out),
    )
    summary = "\n\n".join(filter(None, (section(contents) for section in SECTIONS))) + "\n"
    table = csv_of(measurements(frame, runs))
    drawn = dict((*pictures.values(), *curves.values(), *layer_pictures.values(), *language_pictures.values()))
    page = index_html(
        f"{summary}\n{networks.section(contents)}", {f"figures/{name}": content for name, content in drawn.items()}
    )
    try:
        _write(out, drawn, {"measurements.csv": table, "index.html": page, "summary.md": summary})
    except OSError as error:
        raise InputError(
            f"{out} cannot hold the report ({error.strerror}): name a folder that can be written."
        ) from error
    return Rendered(summary=out / "summary.md", refused=refused)


def _pictures(datasets: Sequence[DatasetFacts]) -> dict[str, tuple[str, bytes]]:
    """File name and content of each augmented picture, by data set. What is not a PNG is left out."""
    found: dict[str, bytes] = {}
    for dataset in datasets:
        try:
            content = base64.b64decode(dataset.augmented_png or "", validate=True)
        except binascii.Error:
            continue
        if content.startswith(_PNG):
            found[dataset.name] = content
    names = _file_names("augmented", ".png", list(found))
    return {key: (name, content) for (key, content), name in zip(found.items(), names, strict=True)}


def _curves(groups: Sequence[Group]) -> dict[str, tuple[str, bytes]]:
    """File name and content of the learning curves, by data set."""
    members: dict[str, list[Group]] = {}
    for group in groups:
        members.setdefault(group.first["dataset"], []).append(group)
    drawn = {name: svg for name, some in members.items() if (svg := learning_curves(some)) is not None}
    names = _file_names("learning-curves", ".svg", list(drawn))
    return {key: (name, svg) for (key, svg), name in zip(drawn.items(), names, strict=True)}


def _layer_pictures(rows: Sequence[Row]) -> dict[str, tuple[str, bytes]]:
    """File name and content of the speed-ups of single layers, by the kind of layer."""
    kinds = {members[0]["model"]: speed_up_figure(members) for members in grouped(rows, ("model",)).values()}
    drawn = {kind: svg for kind, svg in kinds.items() if svg is not None}
    names = _file_names("layers", ".svg", list(drawn))
    return {kind: (name, svg) for (kind, svg), name in zip(drawn.items(), names, strict=True)}


def _language_pictures(groups: Sequence[LanguageGroup]) -> dict[str, tuple[str, bytes]]:
    """File name and content of the decoding speeds, by language model."""
    members: dict[str, list[LanguageGroup]] = {}
    for group in groups:
        members.setdefault(group.model, []).append(group)
    drawn = {model: svg for model, some in members.items() if (svg := decoding_figure(some)) is not None}
    names = _file_names("language", ".svg", list(drawn))
    return {model: (name, svg) for (model, svg), name in zip(drawn.items(), names, strict=True)}


def _file_names(prefix: str, suffix: str, names: Sequence[str]) -> list[str]:
    """File names that any system takes, none of them twice."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data" for name in names]
    used: Counter[str] = Counter()
    numbered = []
    for name in plain:
        used[name.lower()] += 1
        count = used[name.lower()]
        numbered.append(f"{prefix}-{name}{suffix}" if count == 1 else f"{prefix}-{name}.{count}{suffix}")
    return numbered


def _method_link(out: Path) -> str | None:
    """From ``out`` to docs/method.md; None outside the checkout, where a link would lead nowhere."""
    checkout, folder = Path(__file__).resolve().parents[2], out.resolve()
    if not folder.is_relative_to(checkout):
        return None
    return Path(os.path.relpath(checkout / "docs" / "method.md", folder)).as_posix()


def _write(out: Path, figures: Mapping[str, bytes], texts: Mapping[str, str]) -> None:
    """The summary comes last, so that it never names a figure that is not there. Figures of an earlier report go."""
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in figures.items():
        replace(folder / name, content)
    for name, text in texts.items():
        replace(out / name, text.encode(errors="replace"))  # half a surrogate pair, which JSON may hold
    for pattern in ("augmented-*.png", "learning-curves-*.svg", "layers-*.svg", "language-*.svg"):
        for old in folder.glob(pattern):
            if old.name not in figures:
                old.unlink()
