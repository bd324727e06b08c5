"""An edit of what shapes numbers is noticed while a run goes on, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import CodeChanged
from bench.run.resume import Sources


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "suite"
    for name in ("models/cnn.py", "bench/train/loop.py", "bench/report/page.py"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(f"# {name}")
    return root


@pytest.mark.parametrize(
    "edit",
    [
        lambda root: (root / "bench/train/loop.py").write_text("# other"),
        lambda root: (root / "bench/train/loop.py").unlink(),
        lambda root: (root / "models/new.py").write_text(""),
    ],
    ids=["edited", "gone", "new"],
)
def test_an_edit_is_named(root: Path, edit: Callable[[Path], object]) -> None:
    sources = Sources(root)
    sources.check()
    edit(root)
    for _ in range(2):  # it stays one
        with pytest.raises(CodeChanged, match=r"was edited .*\((loop|new)\.py\).*--resume takes nothing of other code"):
            sources.check()


def test_what_shapes_no_number_is_no_edit(root: Path) -> None:
    sources = Sources(root)
    (root / "bench/report/page.py").write_text("# other")
    loop = root / "bench/train/loop.py"
    written = loop.read_text()
    loop.write_text("# other")
    loop.write_text(written)  # back again, as by a change of branches
    os.utime(loop, ns=(1, 1))
    sources.check()


def test_all_files_of_the_users_network_count(root: Path, tmp_path: Path) -> None:
    files = [tmp_path / "mine.py", tmp_path / "layers.py"]
    for file in files:
        file.write_text("")
    sources = Sources(root)
    before = sources.watch(files)
    assert before == Sources(root).watch(reversed(files)) != Sources(root).watch(files[:1])
    sources.check()
    files[1].write_text("WIDTH = 7")
    assert Sources(root).watch(files) != before
    with pytest.raises(CodeChanged, match=r"layers\.py"):
        sources.check()


def test_what_was_edited_before_a_network_is_watched_is_noticed(root: Path, tmp_path: Path) -> None:
    sources = Sources(root)
    (root / "models/cnn.py").write_text("# other")
    (tmp_path / "mine.py").write_text("")
    sources.watch([tmp_path / "mine.py"])
    with pytest.raises(CodeChanged, match=r"cnn\.py"):
        sources.check()
