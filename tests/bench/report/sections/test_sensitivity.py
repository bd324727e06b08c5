"""Mixed precision in the report: one table and one picture a search, from the rows' own texts."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.quality import Layer, layers_in
from bench.report.drawings.sensitivity import sensitivity_picture, shortened
from bench.report.parts import Pictures, Table, walk
from bench.report.sections.sensitivity import sensitivity_section

LAYERS = (
    Layer(name="stem", kl=0.02, changed=0.013, bytes_saved=300, spared=True),
    Layer(name="head | last", kl=0.0, changed=0.0, bytes_saved=90_000, spared=False),
)
TEXTS = {"reason": "arithmetic | x | 0.5", **{f"layer {place}": str(one) for place, one in enumerate(LAYERS, start=1)}}


def test_a_layer_is_read_as_it_was_written() -> None:
    assert [layer.name for layer in layers_in(TEXTS)] == ["stem", "head / last"]
    assert layers_in(TEXTS)[0] == LAYERS[0]
    with pytest.raises(ValueError, match="unpack"):
        Layer.read("arithmetic | x | 0.5")


def test_each_search_has_a_table_and_a_picture(make: Any, content_of: Any) -> None:
    mixed = {"precision": "int8_mixed", "runtime": "openvino", "mode": "native", "options": (("max_drop", 0.01),)}
    rows = [make.inference(texts=TEXTS, batch_size=size, **mixed) for size in (1, 32)]
    section = sensitivity_section(content_of(make.inference(), *rows))
    assert section is not None
    parts = list(walk([section]))
    (table,) = (part for part in parts if isinstance(part, Table))
    cells = [[column.value(row) for column in table.columns] for row in table.rows]
    assert cells == [
        ["stem", 0.02, 0.013, 300, "floating point"],
        ["head / last", 0.0, 0.0, 90_000, "int8"],
    ]
    (pictures,) = (part for part in parts if isinstance(part, Pictures))
    assert [picture.file for picture in pictures.pictures] == ["sensitivity-cnn_small-1.svg"]


def test_without_a_search_there_is_no_section(make: Any, content_of: Any) -> None:
    assert sensitivity_section(content_of(make.inference())) is None
    assert sensitivity_picture("none", ()) is None


def test_long_names_keep_their_ends() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdef", 3) == "…ef"
