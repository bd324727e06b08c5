"""What befalls a whole run: Ctrl-C, a kill, a full disk, vanished data. Nothing that was measured is lost."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.run.journal import Journal
from bench.run.session import CODE_CHANGED
from tests.processes import alive, descendants, wait_for
from tests.runs import FP32_EAGER, INFERENCE, NETWORKS, ROOT, refused, run, small_disk_at

pytestmark = pytest.mark.slow


def test_interrupt_keeps_what_is_done_and_leaves_no_process(command: Any, networks: Path, tmp_path: Path) -> None:
    """Ctrl-C while a case hangs: the finished one is in the JSON, and --resume takes it."""
    options = ["--models", f"{networks}:sleeps", *FP32_EAGER, "--batch-sizes", "8,7"]
    inference = command(*options, cases=INFERENCE)
    process = subprocess.Popen(inference, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "results" / "journal.jsonl"
    wait_for(lambda: len(Journal(journal).read().entries) == 2)  # the training, the batch of 8
    wait_for(lambda: len(descendants(process.pid)) >= 3)  # the fork server, the resource tracker, the worker
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    rows = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    assert [row["params"]["batch_size"] for row in rows] == [8]
    assert rebuilt(tmp_path / "results") == comparable(tmp_path / "results" / "run.json")
    wait_for(lambda: not any(alive(pid) for pid in family))

    done = run([*command(*options, cases=INFERENCE), "-k", "b8", "--resume"])
    assert done.returncode == 0, done.stdout
    assert "resuming: 2 measurements" in done.stdout
    assert "resumed: took 2 of 2 measurements" in done.stdout
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert stored["halfbyte"]["deselected"] == 1  # the batch of 7
    assert rebuilt(tmp_path / "results") == comparable(tmp_path / "results" / "run.json")
    again = stored["benchmarks"]
    for row, before in zip(again, rows, strict=True):  # with the set that the interrupted run had not come to
        assert {turn["set"] for turn in before["extra_info"]["turns"]} == {0}
        assert {turn["set"] for turn in row["extra_info"]["turns"]} == {0, 1}
        assert row["extra_info"]["seconds"][: len(before["stats"]["data"])] == before["extra_info"]["seconds"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 800 kB at ``results``."""
    with small_disk_at(tmp_path / "results", "800k") as disk:
        yield disk


def test_a_disk_that_fills_up_costs_no_measurement(
    command: Any, networks: Path, tmp_path: Path, small_disk: Path
) -> None:
    """From the second of three cases on nothing can be written; what was measured is there once there is room."""
    ballast = small_disk / "ballast"
    fault = f"""
    with open({str(ballast)!r}, "ab", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1024))
            except OSError:
                break
"""
    networks.write_text(NETWORKS.replace("time.sleep(600)", "fills()") + "def fills():" + fault)
    torch.save({"layer.weight": torch.zeros(10, 3 * 32 * 32), "layer.bias": torch.zeros(10)}, tmp_path / "weights.pt")
    own = ["--models", f"{networks}:sleeps", "--weights", str(tmp_path / "weights.pt"), *FP32_EAGER]
    inference = command(*own, "--batch-sizes", "8,7,6", cases="bench/test_inference.py")
    done = run(inference)
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR, done.stdout
    assert "3 passed" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert re.search(r"run\.json could not be written \(No space left on device\).*bench\.run\.rebuild", done.stdout)
    rescued = Path(re.search(r"journal\.jsonl lacks its last \d lines .*: they are in (\S+)\. ", done.stdout)[1])  # type: ignore[index]
    assert sorted(path.name for path in small_disk.glob("*.json*")) == ["journal.jsonl"]

    ballast.unlink()
    with (small_disk / "journal.jsonl").open("ab") as journal:
        journal.write(rescued.read_bytes())
    rescued.unlink()
    rows, suite, _ = rebuilt(small_disk)
    assert [row["params"]["batch_size"] for row in rows] == [8, 7, 6]
    assert suite["failures"] == []
    assert "No space left" in rows[1]["extra_info"]["absent"]["predictions"]
    assert rows[1]["extra_info"]["quality"]["samples"] == 100
    again = run([*inference, "--resume"])
    assert "resumed: took 3 of 3 measurements" in again.stdout, again.stdout


def test_a_disk_that_is_full_is_refused_before_anything_runs(command: Any, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(790 * 1024))
    assert "cannot be written to (No space left on device)" in refused(command())


def test_data_that_vanish_while_it_runs_fail_what_needs_them(command: Any, networks: Path, tmp_path: Path) -> None:
    """The case under way has read them; the next fails with one line; what was measured is in the JSON."""
    data = tmp_path / "data"
    networks.write_text(NETWORKS.replace("time.sleep(600)", f"shutil.rmtree({str(data)!r})") + "import shutil\n")
    torch.save({"layer.weight": torch.zeros(10, 3 * 32 * 32), "layer.bias": torch.zeros(10)}, tmp_path / "weights.pt")
    own = ["--models", f"{networks}:sleeps", "--weights", str(tmp_path / "weights.pt"), *FP32_EAGER]
    inference = command(*own, "--batch-sizes", "8,7,6", "--data-dir", str(data), cases="bench/test_inference.py")
    done = run(inference)
    assert done.returncode == 1, done.stdout
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert 8 in [row["params"]["batch_size"] for row in stored["benchmarks"]]
    *_, failure = stored["halfbyte"]["failures"]
    assert failure["case"]["batch_size"] == 6
    assert re.fullmatch(
        r"the decoded data set in .* is missing or incomplete: run again to decode it anew", failure["message"]
    )


def test_code_that_is_edited_while_it_is_measured_ends_the_run(command: Any, networks: Path, tmp_path: Path) -> None:
    """A module beside the user's network changes during the second of three cases: the first is kept."""
    layers = tmp_path / "layers.py"
    layers.write_text("WIDTH = 10\n")
    edits = NETWORKS.replace("time.sleep(600)", f"open({str(layers)!r}, 'a').write('# other')")
    networks.write_text("import layers\n" + edits)
    torch.save({"layer.weight": torch.zeros(10, 3 * 32 * 32), "layer.bias": torch.zeros(10)}, tmp_path / "weights.pt")
    own = ["--models", f"{networks}:sleeps", "--weights", str(tmp_path / "weights.pt"), *FP32_EAGER]
    done = run(command(*own, "--batch-sizes", "8,7,6", cases=INFERENCE))
    assert done.returncode == CODE_CHANGED, done.stdout
    assert re.search(r"code was edited while it was measured \(layers\.py\)", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert [row["params"]["batch_size"] for row in stored["benchmarks"]] == [8]
    assert rebuilt(tmp_path / "results") == comparable(tmp_path / "results" / "run.json")


def test_kill_leaves_no_process(command: Any, networks: Path, tmp_path: Path) -> None:
    options = ["--models", f"{networks}:sleeps", *FP32_EAGER, "--batch-sizes", "7"]
    process = subprocess.Popen(
        command(*options, cases=INFERENCE),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = tmp_path / "results" / "journal.jsonl"
    wait_for(lambda: len(Journal(journal).read().entries) == 1)
    wait_for(lambda: len(descendants(process.pid)) >= 3)
    family = descendants(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in family))


def rebuilt(results: Path) -> Any:
    """What the journal says of the last run, as a JSON file that a report is then written from."""
    out = results / "rebuilt.json"
    out.unlink(missing_ok=True)
    done = run([sys.executable, "-m", "bench.run.rebuild", str(results / "journal.jsonl"), "--out", str(out)])
    assert done.returncode == 0, done.stderr
    rendered = run([sys.executable, "-m", "bench.report", "render", str(out), "--out", str(results / "report")])
    assert rendered.returncode == 0, rendered.stderr
    return comparable(out)


def comparable(path: Path) -> Any:
    """All that a run's JSON says but what differs by nature: how long it took, and pytest-benchmark of itself."""
    content = json.loads(path.read_text())
    assert content["halfbyte"].pop("seconds") > 0
    rows = [{name: value for name, value in row.items() if name != "options"} for row in content["benchmarks"]]
    return rows, content["halfbyte"], content["commit_info"]
