from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.report import check, render
from bench.report.__main__ import main
from bench.report.check import PUBLISHED, differences


@pytest.fixture
def published(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one committed report."""
    for module in (check, render):
        monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    path = make.write(tmp_path / "results" / "run.json", [make.training(), make.inference()])
    render.render([path], tmp_path / "reports" / "published" / "machine")
    return tmp_path / "reports" / "published"


def test_a_report_that_is_what_its_results_produce_passes(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (published / "machine" / "inputs.txt").read_text() == "results/run.json\n"
    assert main(["check", str(published)]) == 0
    assert "as their results have it" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["summary.md", "measurements.csv", "figures/learning-curves-cifar10-jpeg-1.svg"])
def test_one_byte_is_enough(published: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = published / "machine" / name
    path.write_bytes(path.read_bytes() + b" ")
    assert main(["check", str(published)]) == 1
    assert f"machine/{name} differs from what its results produce" in capsys.readouterr().err


def test_missing_and_strange_files_are_named(published: Path) -> None:
    (published / "machine" / "summary.md").unlink()
    (published / "machine" / "figures" / "old.svg").write_text("")
    missing, strange = sorted(line.removeprefix(str(published)) for line in differences(published))[::-1]
    assert missing == "/machine/summary.md is missing"
    assert strange == "/machine/figures/old.svg is not of this report"


def test_other_results_make_the_report_stale(make: Any, published: Path, tmp_path: Path) -> None:
    make.write(tmp_path / "results" / "run.json", [make.training(), make.inference([0.002] * 30)])
    assert any("summary.md differs" in line for line in differences(published))


def test_results_that_are_gone_or_were_never_named_are_told(published: Path, tmp_path: Path) -> None:
    (tmp_path / "results" / "run.json").unlink()
    assert ["does not exist" in line for line in differences(published)] == [True]
    (published / "machine" / "inputs.txt").unlink()
    assert ["names no file" in line for line in differences(published)] == [True]


def test_no_report_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no report"):
        differences(tmp_path)
    assert main(["check", str(tmp_path)]) == 2


def test_the_committed_reports_are_what_their_results_produce() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip("no committed reports here")
    assert differences() == []
