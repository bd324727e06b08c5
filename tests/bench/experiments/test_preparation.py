"""Preparation lists the files of a user's own network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.core.records import Case
from bench.core.workspace import Workspace
from bench.experiments.preparation import prepare

MINE = """
import json
from layers import WIDTH
from torch import nn
import torch.nn.utils.fusion
import models.cnn

class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 10)
    def forward(self, images):
        import deep.late
        return self.layer(images.flatten(1))

def network():
    return Late()
"""
OTHER = """
from layers import WIDTH
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 10))
"""


def case(model: str) -> Case:
    return Case(
        experiment="inference", model=model, dataset="mnist5k", image_size=32, device="cpu", threads=1, budget="smoke"
    )


def test_every_file_that_a_network_imports_is_told(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    files = {"mine.py": MINE, "other.py": OTHER, "layers.py": "WIDTH = 3 * 32 * 32", "deep/__init__.py": ""}
    for name, content in {**files, "deep/late.py": ""}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))  # for what is imported late, when the file's folder is no longer there
    mine, other = f"{tmp_path}/mine.py:network", f"{tmp_path}/other.py:network"
    found = prepare(case("cnn_small"), workspace, users=[case(mine), case(other), case("cnn_small")])["networks"]
    told = {model: {Path(file).relative_to(tmp_path).as_posix() for file in files} for model, files in found.items()}
    assert told == {
        mine: {"mine.py", "layers.py", "deep/__init__.py", "deep/late.py"},
        other: {"other.py", "layers.py"},
    }
    assert "layers" not in sys.modules
