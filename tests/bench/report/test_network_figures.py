"""A panel shows one batch size of a network: of those at which there is something to compare."""

from __future__ import annotations

import pytest

from bench.report.network_figures import NETWORK, _panels
from bench.report.rows import Row


def row(model: str, batch_size: int, precision: str) -> Row:
    return {**dict.fromkeys(NETWORK, ""), "model": model, "batch size": batch_size, "precision": precision}


@pytest.mark.parametrize(("pick", "size"), [(min, 8), (max, 32)])
def test_batch_sizes_of_a_single_row_have_no_panel(pick: object, size: int) -> None:
    rows = [row("a", 1, "fp32"), row("b", 8, "fp32"), row("a", 64, "fp32")]
    rows += [row("a", each, precision) for each in (8, 32) for precision in ("fp32", "nf4")]
    [panel] = _panels(rows, pick)  # type: ignore[arg-type]
    assert [(found["model"], found["batch size"], found["precision"]) for found in panel] == [
        ("a", size, "fp32"),
        ("a", size, "nf4"),
    ]


def test_nothing_to_compare_has_no_panel() -> None:
    assert _panels([row("a", 1, "fp32"), row("b", 1, "fp32")], min) == []
