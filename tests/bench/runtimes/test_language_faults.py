"""Language models in each runtime: a run that is killed goes on, and a full disk fails by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.precisions import PRECISIONS
from bench.core.runtimes import why_not
from bench.run.journal import Journal
from bench.runtimes.language_route import LanguageOrder
from models.language_files import folder_of, packaged_file
from tests.bench.runtimes.test_language_runtimes import ROUTES, SPEC, prepared
from tests.processes import alive, descendants, wait_for
from tests.runs import ROOT, run, small_disk_at

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

FILES = {"openvino": "openvino-int8_weights", "onnxruntime": "onnx-int4_weights", "llama_cpp": "gguf-q8_0"}


@pytest.fixture(scope="module", autouse=True)
def _every_runtime_is_installed() -> None:
    for runtime, precision in ROUTES:
        reason = why_not(runtime, precision, "native", "cpu", kind="languages")
        if reason:
            pytest.skip(reason)


@pytest.fixture
def command(language_data: Path, tmp_path: Path) -> list[str]:
    """Loads of one route of each runtime, in the order of `ROUTES`."""
    routes = ["--runtimes", ",".join(runtime for runtime, _ in ROUTES)]
    precisions = ["--precisions", ",".join(precision for _, precision in ROUTES)]
    model = ["--llm", SPEC.name, "--budget", "smoke", "--device", "cpu", "--data-dir", str(language_data)]
    files = ["--benchmark-json", str(tmp_path / "results" / "run.json"), "-p", "no:cacheprovider"]
    chosen = ["-k", "load and not (openvino and int4_weights)"]
    return [sys.executable, "-m", "pytest", "bench/test_language.py", *model, *routes, *precisions, *files, *chosen]


def test_a_run_that_is_killed_while_it_converts_goes_on(command: list[str], tmp_path: Path) -> None:
    """Killed in the first conversion, then in the third; the last run takes two cases and converts the third anew."""
    results = tmp_path / "results"
    journal = results / "journal.jsonl"
    kill_when(command, lambda: any(results.rglob("*.partial")))
    assert not Journal(journal).read().entries
    left = next(results.rglob("*.partial"))
    for name in FILES.values():
        partial = left.with_name(f"{name}.partial")
        partial.mkdir(exist_ok=True)
        (partial / "model.gguf").write_bytes(b"half")
    kill_when([*command, "--resume"], lambda: len(Journal(journal).read().entries) == 2)
    done = run([*command, "--resume"])
    assert done.returncode == 0, done.stdout
    assert "resumed: took 2 of 2 measurements" in done.stdout
    rows = [row["extra_info"] for row in json.loads((results / "run.json").read_text())["benchmarks"]]
    assert {row["case"]["runtime"]: row["case"]["precision"] for row in rows} == dict(ROUTES)
    assert all(row["cold"]["load"] > 0 and row["cold"]["convert"] > 0 for row in rows)
    assert not list(results.rglob("*.partial"))


def kill_when(command: list[str], condition: Callable[[], object]) -> None:
    """Start ``command``, end it by SIGKILL once ``condition`` holds, and see that nothing of it lives on."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(condition, 120)
    family = descendants(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in family))


@pytest.fixture
def order(language_data: Path, tmp_path: Path) -> LanguageOrder:
    return LanguageOrder(
        name=SPEC.name,
        checkpoint=folder_of(SPEC, language_data / "cache", lambda line: None),
        gguf=packaged_file(SPEC.location),
        layers=SPEC.layers,
        precision=PRECISIONS["fp32"],
        threads=1,
        room=64,
        files=tmp_path / "disk" / "converted",
        fresh=False,
    )


@pytest.mark.parametrize(("runtime", "precision"), ROUTES)
def test_a_full_disk_is_no_fault_of_the_model(
    order: LanguageOrder, tmp_path: Path, runtime: str, precision: str
) -> None:
    """OpenVINO's has room for the GGUF files that Python writes: the model's weights are then written in C++."""
    with small_disk_at(tmp_path / "disk", "180m" if runtime == "openvino" else "20m") as disk:
        with pytest.raises(OSError, match=r"No space left|Not enough free space"):
            prepared(runtime, replace(order, precision=PRECISIONS[precision]))
        assert not list(disk.rglob("*.partial"))
