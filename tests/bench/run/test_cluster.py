"""A run on a cluster of two nodes, one of which is killed while a case runs there: the same as on one machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.records import Measurement, from_json
from bench.run import cluster, nodes
from bench.run.node import content_of, pack, unpack
from tests.processes import marked, wait_for
from tests.runs import ROOT, refused, run

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
MARK = "HALFBYTE_TEST_CLUSTER"
CASES = ("bench/test_training.py", "bench/test_inference.py")
SELECTED = ("--models", "cnn_small", "--precisions", "fp32,int8_weights", "--modes", "eager", "--batch-sizes", "32")
OPTIONS = ("--budget", "smoke", "--device", "cpu", "--dataset", "mnist5k", "--track", "none", "--train-images", "4000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


def arguments(folder: Path, name: str) -> list[str]:
    files = ["--benchmark-json", str(folder / name / "run.json"), "--data-dir", str(folder / "data")]
    return [*CASES, *OPTIONS, *SELECTED, *files, "-p", "no:cacheprovider", "-q"]


def measurements(path: Path) -> list[Measurement]:
    rows = json.loads(path.read_text())["benchmarks"]
    return [from_json(Measurement, row["extra_info"]) for row in rows]


def qualities(found: list[Measurement]) -> dict[str, tuple[float, str]]:
    """Quality and digest of the predictions of each case, by its id."""
    values: dict[str, tuple[float, str]] = {}
    for one in found:
        assert one.quality is not None
        assert one.quality.predictions is not None
        values[one.case.id] = (one.quality.value, one.quality.predictions.sha256)
    return values


@pytest.mark.slow
@needs_ray
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up in /proc")
def test_a_node_that_is_killed_costs_no_case(folder: Path) -> None:
    alone = run([sys.executable, "-m", "pytest", *arguments(folder, "alone"), "--threads", "1"])
    assert alone.returncode == 0, alone.stdout
    journal = folder / "cluster" / "journal.jsonl"
    check = [sys.executable, "tests/check_cluster.py", "--kill", "--journal", str(journal)]
    done = subprocess.run(
        [*check, *arguments(folder, "cluster")],
        cwd=ROOT,
        env={**os.environ, MARK: str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    expected, found = (measurements(folder / name / "run.json") for name in ("alone", "cluster"))
    assert set(Counter(one.case.id for one in found).values()) == {1}
    assert qualities(found) == qualities(expected)
    assert [one.turns != () for one in found] == [one.turns != () for one in expected]
    assert [one for one in found if any(note.startswith("tried again on") for note in one.notes)]
    for one in found:
        if one.artefact:
            assert (folder / "cluster" / "artefacts" / one.artefact).exists()
        assert one.quality is not None
        assert one.quality.predictions is not None
        assert (folder / "cluster" / one.quality.predictions.path).exists()
    wait_for(lambda: not marked(f"{MARK}={folder}"), 30)


@pytest.mark.slow
@needs_ray
def test_an_address_that_is_no_cluster_is_refused(command: Any) -> None:
    assert "cannot be joined" in refused(command("--cluster", "127.0.0.1:9"))


def test_options_that_do_not_fit_a_cluster_are_refused(command: Any) -> None:
    assert "give --cluster as well" in refused(command("--nodes", "H100"))
    assert "leave out --isolation none" in refused(command("--cluster", "local", "--isolation", "none"))


def test_ray_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nodes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs Ray"):
        cluster.ClusterRunner("local", tmp_path, "cpu", language=False)


def test_a_folder_arrives_with_its_content(tmp_path: Path) -> None:
    source = tmp_path / "here" / "model"
    (source / "part").mkdir(parents=True)
    (source / "part" / "weights").write_bytes(b"1234")
    (source / "config").write_text("{}")
    unpack(pack(source), tmp_path / "there")
    assert (tmp_path / "there" / "model" / "part" / "weights").read_bytes() == b"1234"
    assert content_of(tmp_path / "there" / "model") == content_of(source)
    (source / "config").write_text("[]")
    assert content_of(tmp_path / "there" / "model") != content_of(source)
