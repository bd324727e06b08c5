"""Every picture of a report: what is drawn from its rows, under which file name."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from bench.report.accuracy_figure import accuracy_figure
from bench.report.contents import Contents, Picture
from bench.report.figures import learning_curves
from bench.report.language_figures import decoding_figure
from bench.report.layer_figures import speed_up_figure
from bench.report.network_figures import latency_figure, memory_figure
from bench.report.rows import Row, grouped

_PNG = b"\x89PNG\r\n\x1a\n"
MOST = 4
"""Pictures of one kind at most, the first ones: the tables have everything."""
Item = TypeVar("Item")
Drawn = Iterable[tuple[str, bytes | None]]
"""What is drawn, with its name; drawn when it is asked for."""


def pictures_of(contents: Contents) -> dict[tuple[str, str], Picture]:
    """By kind, and by what of that kind is drawn; what has nothing to draw is left out."""
    found: dict[tuple[str, str], Picture] = {}
    for kind, (suffix, draw) in PICTURES.items():
        drawn = dict(islice(((key, found) for key, found in draw(contents) if found is not None), MOST))
        for (key, content), name in zip(drawn.items(), _file_names(kind, suffix, list(drawn)), strict=True):
            found[kind, key] = Picture(file=name, content=content)
    return found


def _augmented(contents: Contents) -> Drawn:
    """The picture that each data set carries. What is not a PNG is left out."""
    return ((item.name, _png(item.augmented_png or "")) for item in contents.datasets)


def _png(text: str) -> bytes | None:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return content if content.startswith(_PNG) else None


def _accuracies(contents: Contents) -> Drawn:
    return ((name, accuracy_figure(rows)) for name, rows in _by(contents.inferences, "dataset"))


def _memory(contents: Contents) -> Drawn:
    yield "networks", memory_figure(contents.inferences)


def _latencies(contents: Contents) -> Drawn:
    yield "networks", latency_figure(contents.inferences)


def _curves(contents: Contents) -> Drawn:
    members = _members(contents.trainings, lambda group: str(group.first["dataset"]))
    return ((name, learning_curves(some)) for name, some in members)


def _layers(contents: Contents) -> Drawn:
    return ((kind, speed_up_figure(rows)) for kind, rows in _by(contents.layers, "model"))


def _language(contents: Contents) -> Drawn:
    members = _members(contents.languages, lambda group: group.model)
    return ((model, decoding_figure(groups)) for model, groups in members)


PICTURES: dict[str, tuple[str, Callable[[Contents], Drawn]]] = {
    "augmented": (".png", _augmented),
    "accuracy": (".svg", _accuracies),
    "memory": (".svg", _memory),
    "latencies": (".svg", _latencies),
    "learning-curves": (".svg", _curves),
    "layers": (".svg", _layers),
    "language": (".svg", _language),
}
"""Kinds of pictures, which are the beginnings of their file names: suffix, and what draws them by name."""


def _by(rows: Sequence[Row], column: str) -> list[tuple[str, list[Row]]]:
    return [(str(key[0]), members) for key, members in grouped(rows, (column,)).items()]


def _members(items: Sequence[Item], name: Callable[[Item], str]) -> list[tuple[str, list[Item]]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(name(item), []).append(item)
    return list(found.items())


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
