"""What the engine keeps of what a runner answers, and when: the runners here are scripted, no process is started."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import CodeChanged, InputError
from bench.core.records import Case, Failure, Measurement, Outcome, from_json, to_json
from bench.core.workspace import Workspace, sha256_of
from bench.run import worker
from bench.run.engine import Engine
from bench.run.journal import Entry, Journal, RunStart, Tried
from bench.run.rebuild import rebuild
from bench.run.result import ResultFile
from bench.run.resume import Artefacts, Weights, adopt, fingerprint

MARKS = {"code": "a", "machine or package versions": "b", "flags": "c", "data": "d"}
OUT_OF_MEMORY = {"failure": {"kind": "out_of_memory", "message": "out of memory"}}
Answer = Callable[[Case], dict[str, Any]]


class Scripted:
    """Answers as told, and notes the batch sizes that it was asked for."""

    preload: tuple[str, ...] = ()
    open = None

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[int] = []

    def perform(self, request: dict[str, Any], progress: object) -> dict[str, Any]:
        case = from_json(Case, request["case"])
        self.asked.append(case.batch_size)
        return self.answer(case)


def case(batch_size: int) -> Case:
    fields = {"dataset": "mnist5k", "image_size": 32, "device": "cpu", "threads": 1, "budget": "smoke"}
    return Case(experiment="inference", model="cnn_small", batch_size=batch_size, **fields)  # type: ignore[arg-type]


def measured(case: Case) -> dict[str, Any]:
    return {"answer": to_json(Measurement(case=case, seconds=(0.25, 0.5)))}


def fits(largest: int) -> Answer:
    return lambda case: measured(case) if case.batch_size <= largest else OUT_OF_MEMORY


@pytest.fixture
def engine_of(tmp_path: Path) -> Callable[[Answer], Engine]:
    """A run that resumes from what the ones before it left."""

    def engine_of(answer: Answer) -> Engine:
        engine = Engine(
            runner=Scripted(answer),
            workspace=Workspace(results=tmp_path, data_dir=tmp_path, fingerprint=fingerprint(MARKS)),
            journal=Journal(tmp_path / "journal.jsonl"),
            case_timeout=lambda case: 60.0,
            progress=lambda line: None,
        )
        engine.adoption = adopt(engine.journal.read(), MARKS, lambda measurement: True)
        engine.journal.append(RunStart(run=engine.run_id, marks=MARKS, facts={"started": "now"}, commit={}))
        return engine

    return engine_of


def asked(engine: Engine) -> list[int]:
    assert isinstance(engine.runner, Scripted)
    return engine.runner.asked


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_a_line_is_written_comes_after_all_that_is_told(
    engine_of: Callable[[Answer], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, told = engine_of(measured), list[Outcome]()
    synchronise = os.fsync

    def interrupted(descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.run(case(8), test={"name": "test"}, on_kept=told.append)
    engine.journal.flush()
    assert told == [engine.outcomes[case(8).id]]
    assert [entry.outcome for entry in engine.journal.read().entries] == told


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "one.partial.pt"
    file.write_text("epochs")
    return file


def test_a_file_goes_once_the_line_is_on_the_disk(
    engine_of: Callable[[Answer], Engine], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(lambda case: {**measured(case), "spent": [str(checkpoint)]})
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(checkpoint.exists()))
    engine.run(case(8))
    assert seen == [True]
    assert not checkpoint.exists()


def test_a_file_makes_room_for_the_line_on_a_full_disk(
    engine_of: Callable[[Answer], Engine], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(lambda case: {**measured(case), "spent": [str(checkpoint)]})

    def full(descriptor: int) -> None:
        if checkpoint.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    engine.run(case(8))
    assert len(engine.journal.read().entries) == 1
    assert engine.journal.unwritten == 0


def test_a_worker_says_which_files_are_spent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def act(request: dict[str, Any], space: Workspace) -> dict[str, Any]:
        space.spent(tmp_path / "one.partial.pt")
        return {}

    monkeypatch.setitem(worker.ACTIONS, "run", act)
    request = {"action": "run", "workspace": worker.paths_of(Workspace(results=tmp_path, data_dir=tmp_path))}
    assert worker.perform(request, print)["spent"] == [str(tmp_path / "one.partial.pt")]


def test_what_was_measured_while_the_code_was_edited_is_not_kept(
    engine_of: Callable[[Answer], Engine], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("")

    def edits(case: Case) -> dict[str, Any]:
        mine.write_text("" if case.batch_size == 8 else "WIDTH = 7")
        return measured(case)

    engine = engine_of(edits)
    engine.sources.watch([mine])
    engine.run(case(8))
    with pytest.raises(CodeChanged, match=r"mine\.py"):
        engine.run(case(7))
    assert [entry.outcome.case.batch_size for entry in engine.journal.read().entries] == [8]
    assert list(engine.outcomes) == list(engine.case_seconds) == [case(8).id]


def test_a_batch_that_was_tried_is_not_run_again(engine_of: Callable[[Answer], Engine], tmp_path: Path) -> None:
    """A failure says the same as if it had been run for its own test."""
    engine = engine_of(fits(3))
    largest = engine.run(case(14), test={"name": "b14"})
    assert asked(engine) == [14, 7, 3]
    assert isinstance(largest, Failure)
    assert set(engine.outcomes) == {case(14).id}  # what nobody asked for is no row, and no failure of the run
    failed, fitted = (engine.run(case(size), test={"name": f"b{size}"}) for size in (7, 3))
    assert asked(engine) == [14, 7, 3]
    assert isinstance(failed, Failure)
    assert failed.fitted == fitted == largest.fitted
    assert failed.message == "out of memory; batch 3 fits: 375 ms a call"
    content = rebuild(engine.journal.read(), tmp_path)
    assert [row["name"] for row in content["benchmarks"]] == ["b3"]
    assert content["halfbyte"]["case_seconds"] == engine.case_seconds
    assert set(engine.case_seconds) == {case(size).id for size in (14, 7, 3)}


def test_a_batch_that_was_tried_before_a_kill_is_taken(engine_of: Callable[[Answer], Engine], tmp_path: Path) -> None:
    killed = engine_of(fits(3))
    killed.run(case(14), test={"name": "b14"})
    only = rebuild(killed.journal.read(), tmp_path)
    assert only["benchmarks"] == []
    assert [failure["case"]["batch_size"] for failure in only["halfbyte"]["failures"]] == [14]
    assert only["halfbyte"]["case_seconds"] == killed.case_seconds
    resumed = engine_of(fits(3))
    assert resumed.adoption.left_out == {"failed, and are tried again": 1}
    again = resumed.run(case(14), test={"name": "b14"})
    fitted = resumed.run(case(3), test={"name": "b3"})
    assert isinstance(again, Failure)
    assert again.fitted == fitted
    assert asked(resumed) == [14, 7]
    assert resumed.resumed == 1
    content = rebuild(resumed.journal.read(), tmp_path)
    assert [row["name"] for row in content["benchmarks"]] == ["b3"]
    assert content["halfbyte"]["resumed"] == 1


def test_a_smaller_batch_that_was_measured_before_is_not_tried(engine_of: Callable[[Answer], Engine]) -> None:
    engine = engine_of(fits(3))
    engine.run(case(7))
    engine.run(case(14))
    assert asked(engine) == [7, 3, 14]
    assert [type(line) for line in engine.journal.read().lines] == [RunStart, Tried, Entry, Entry]


def test_weights_go_by_what_is_in_their_file(tmp_path: Path) -> None:
    file, found = tmp_path / "a.pt", Artefacts(tmp_path)
    file.write_text("one")
    trained = Measurement(case=case(1), seconds=(1.0,), artefact="a.pt", weights_sha256=sha256_of(file))
    nameless = dataclasses.replace(trained, weights_sha256=None)
    assert found.holds(trained)
    assert not found.holds(nameless)
    assert found.holds(dataclasses.replace(nameless, artefact=None))
    assert Weights(artefact="a.pt", sha256=found.sha256("a.pt"), fresh=False).allow(trained)
    file.write_text("two, by the same name")
    assert not found.holds(trained)
    assert not Weights(artefact="a.pt", sha256=found.sha256("a.pt"), fresh=False).allow(trained)
    file.unlink()
    assert not found.holds(trained)
    assert not found.holds(nameless)


def test_a_results_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    first, second = (ResultFile(tmp_path / "run.json", tmp_path) for _ in range(2))
    first.lock()
    with pytest.raises(InputError, match=r"is in use by another run: wait .*--benchmark-json FOLDER/run\.json"):
        second.lock()
    first.release()
    second.lock()
    second.release()
    assert list(tmp_path.iterdir()) == []
