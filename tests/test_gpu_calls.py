"""The scripts for a rented GPU: shards that cover budget smoke once, time limits, what travels and what comes back."""

from __future__ import annotations

import json
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from bench.core.experiments import TABLE
from tests.gpu import calls, travel
from tests.gpu.calls import FIGURES, MOST_FILES, SMOKE_SHARDS, Shard


def test_the_shards_of_smoke_have_every_case_module() -> None:
    shards = {name for shard in SMOKE_SHARDS for name in shard.cases}
    assert {f"test_{name}" for name in shards} == {f"test_{one.cases.removeprefix('test_')}" for one in TABLE}
    assert len(SMOKE_SHARDS) + 1 <= MOST_FILES
    assert len(FIGURES) + 1 <= MOST_FILES


@pytest.mark.parametrize("call", [SMOKE_SHARDS, FIGURES])
def test_the_limits_fit_into_a_call(call: tuple[Shard, ...]) -> None:
    at_once = call is SMOKE_SHARDS
    seconds = [shard.seconds for shard in call]
    assert (max(seconds) if at_once else sum(seconds)) <= 600 - 60


def run_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, limit: float) -> tuple[str, Path]:
    """Line about a shard that is ``code`` in place of pytest, and the folder that comes back."""
    shard, out = Shard(name="one", cases=("layers",)), tmp_path / "out"
    monkeypatch.setattr(calls, "command", lambda shard, work, options: [sys.executable, "-c", code, str(work)])
    process = calls.begin(shard, out, ())
    line = calls.keep(shard, out, calls.wait_for(process, time.monotonic() + limit))
    calls.pack(out)
    return line, out


WRITE = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1], "run")
(folder / "logs").mkdir(parents=True)
(folder / "logs" / "case.txt").write_text("log")
print("said")
(folder / "run.json").write_text("{}")
"""


def test_what_comes_back_is_the_json_and_one_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, out = run_of(tmp_path, monkeypatch, WRITE, 30)
    assert line == "one: exit status 0"
    assert sorted(path.name for path in out.iterdir()) == ["one.json", "rest.tar.gz"]
    assert json.loads((out / "one.json").read_text()) == {}
    with tarfile.open(out / "rest.tar.gz") as archive:
        assert sorted(archive.getnames()) == ["one/printed.txt", "one/run/logs/case.txt"]


def test_a_shard_past_its_limit_is_interrupted_and_keeps_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, out = run_of(tmp_path, monkeypatch, f"{WRITE}\nimport time\ntime.sleep(60)", 1.0)
    assert line.startswith("one: interrupted")
    assert (out / "one.json").is_file()


def test_a_shard_without_a_json_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, _ = run_of(tmp_path, monkeypatch, "raise SystemExit(4)", 30)
    assert line == "one: exit status 4, no JSON"


def test_a_wheel_is_cut_and_its_record_with_it(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        lines = []
        for name in ("bitsandbytes/libbitsandbytes_cuda118.so", "bitsandbytes/libbitsandbytes_cuda130.so"):
            archive.writestr(name, name)
            lines.append(f"{name},sha256={travel._hash(name.encode())},1")
        archive.writestr("a-1.dist-info/RECORD", "\n".join([*lines, "a-1.dist-info/RECORD,,"]))
    travel.cut(wheel, travel.wanted_library)
    assert zipfile.ZipFile(wheel).namelist() == ["bitsandbytes/libbitsandbytes_cuda130.so", "a-1.dist-info/RECORD"]
    assert travel.check_record(wheel) == []


def test_what_travels_fits() -> None:
    sizes = travel.travelling()
    assert sizes["bench/core/budgets.py"] > 0
    assert not [name for name in sizes if name.startswith(("results/artefacts", ".nox", ".git/"))]
    lines, fits = travel.listing(sizes)
    assert fits, lines
    assert not travel.listing({**sizes, ".gpu/large.whl": travel.MOST_BYTES})[1]
