"""The examples of docs/your-own-model.md, run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from models import classifier

PAGE = Path(__file__).resolve().parents[1] / "docs" / "your-own-model.md"
BLOCKS = {
    block.splitlines()[0].removeprefix("# "): block
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
}


@pytest.mark.parametrize("title", [title for title in BLOCKS if title != "resnet20"])
def test_an_example_runs(title: str, tmp_path: Path) -> None:
    names: dict[str, Any] = {"folder": tmp_path}
    exec(compile(BLOCKS[title], f"{PAGE.name}: {title}", "exec"), names)


def test_resnet20_is_the_paper_s(tmp_path: Path) -> None:
    """19 convolutions and a linear layer: 0.27 M parameters (He et al. 2015, table 6)."""
    file = tmp_path / "mine.py"
    file.write_text(BLOCKS["resnet20"])
    network = classifier(f"{file}:resnet20").build(10).eval()
    convolutions = 3 * 16 * 9 + 6 * 16 * 16 * 9 + (16 + 5 * 32) * 32 * 9 + (32 + 5 * 64) * 64 * 9
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert sum(parameter.numel() for parameter in network.parameters()) == convolutions + norms + 650 == 269_722
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_every_example_has_a_test() -> None:
    assert list(BLOCKS) == ["resnet20", "outputs", "weights", "class map", "pretrained"]
