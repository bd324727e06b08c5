"""The JSON of a run comes out of its journal as the run would have written it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.quality import digest, pack
from bench.core.records import Case, Failure, Measurement, Predictions, Quality
from bench.report.load import load
from bench.run import rebuild
from bench.run.journal import Contents, Entry, Journal, Line, RunStart, Taken
from bench.run.rebuild import main

CASE = Case(
    experiment="inference", model="a", dataset="mnist5k", image_size=32, device="cpu", threads=1, budget="smoke"
)
MACHINE = {
    "device": "cpu",
    "device_name": "some CPU",
    "capability": None,
    "device_memory_bytes": None,
    "cpu": "some CPU",
    "cores": 2,
    "memory_bytes": None,
    "cpu_features": [],
    "platform": "Linux",
    "python": "3.11.7",
    "driver": None,
    "cuda": None,
    "versions": {},
}
LABELS = [1, 2, 3]


def case(model: str) -> Case:
    return dataclasses.replace(CASE, model=model)


def start(run: str) -> RunStart:
    facts = {"schema": 2, "machine": MACHINE, "started": f"begin of {run}", "budget": "smoke", "fingerprint": "f"}
    return RunStart(run=run, marks={}, facts=facts, commit={"id": "0" * 40, "dirty": True})


def named(model: str) -> dict[str, object]:
    return {"name": model, "fullname": f"test[{model}]", "group": "g", "param": model, "params": {"model": model}}


def measured(run: str, model: str, *, asked: bool = True, quality: Quality | None = None, at: float = 1.0) -> Entry:
    outcome = Measurement(case=case(model), seconds=(0.25, 0.75), quality=quality)
    test = named(model) if asked else None
    return Entry(run=run, outcome=outcome, fingerprint="f", case_seconds=4.0, at=at, test=test)


def taken(run: str, source: str, model: str, *, asked: bool = True) -> Taken:
    return Taken(run=run, source=source, case=case(model).id, at=0.5, test=named(model) if asked else None)


def written(folder: Path, *lines: Line) -> Path:
    journal = Journal(folder / "journal.jsonl")
    for line in lines:
        journal.append(line)
    return journal.path


def rows(path: Path) -> list[str]:
    return [measurement.case.model for measurement in load(path).measurements]


def test_a_report_reads_what_was_rebuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "kept.txt").write_text(pack(LABELS))
    (tmp_path / "predictions" / "altered.txt").write_text(pack([3, 2, 1]))
    kept, altered = (Predictions(path=f"predictions/{name}.txt", sha256=digest(LABELS)) for name in ("kept", "altered"))
    altered = dataclasses.replace(altered, sha256=digest([9]))
    quality = Quality(metric="accuracy", value=0.5, standard_error=0.1, samples=3, predictions=kept)
    failure = Failure(case=case("bad"), kind="crashed", message="killed by SIGSEGV")
    failed = Entry(run="one", outcome=failure, fingerprint="f", case_seconds=2.0, at=6.0, test=named("bad"))
    unlabelled = dataclasses.replace(quality, predictions=altered)
    journal = written(
        tmp_path,
        start("one"),
        measured("one", "a", quality=quality),
        measured("one", "b", quality=unlabelled),
        failed,
        measured("one", "c", at=9.0),
    )
    out = tmp_path / "run.json"
    assert main([str(journal), "--out", str(out)]) == 0
    assert "3 measurements and 1 failures of the run begun begin of one" in capsys.readouterr().out
    run = load(out)
    assert rows(out) == ["a", "b", "c"]
    assert run.measurements[0].quality == quality
    assert run.measurements[0].seconds == (0.25, 0.75)
    assert run.failures == (failure,)
    assert run.predictions == {digest(LABELS): (1, 2, 3)}  # those of b are not what b said they were
    taken_seconds = {"a": 4, "b": 4, "c": 4, "bad": 2}
    assert run.case_seconds == {case(name).id: seconds for name, seconds in taken_seconds.items()}
    assert (run.seconds, run.resumed, run.commit, run.started) == (9.0, 0, f"{'0' * 12}-dirty", "begin of one")
    [first, *_] = json.loads(out.read_text())["benchmarks"]
    assert {name: first[name] for name in named("a")} == named("a")
    assert first["stats"]["median"] == 0.5
    assert first["stats"]["data"] == [0.25, 0.75]


def test_what_a_run_took_of_another_is_its_own(tmp_path: Path) -> None:
    """A training that no test asked for is no row, as in the run's own JSON; one that was asked for later is."""
    journal = written(
        tmp_path,
        start("one"),
        measured("one", "a"),
        measured("one", "needed", asked=False),
        measured("one", "not selected again"),
        start("two"),
        taken("two", "one", "needed", asked=False),
        taken("two", "one", "a"),
        measured("two", "first needed", asked=False),
        measured("two", "b"),
        taken("two", "two", "first needed"),
    )
    out = tmp_path / "two.json"
    assert main([str(journal), "--out", str(out)]) == 0
    assert sorted(rows(out)) == ["a", "b", "first needed"]
    assert load(out).resumed == 2
    assert set(load(out).case_seconds) == {case("first needed").id, case("b").id}
    earlier = tmp_path / "one.json"
    assert main([str(journal), "--out", str(earlier), "--run", "one"]) == 0
    assert rows(earlier) == ["a", "not selected again"]


def test_a_damaged_line_is_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = written(tmp_path, start("one"), measured("one", "a"), measured("one", "b"))
    journal.write_text(journal.read_text().replace("0.75", "0.74", 1))
    assert main([str(journal), "--out", str(tmp_path / "run.json")]) == 0
    assert "line 2: altered, the checksum does not match" in capsys.readouterr().out
    assert rows(tmp_path / "run.json") == ["b"]


def test_what_cannot_be_rebuilt_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"names no run.*--resume"):
        rebuild.rebuild(Contents(lines=(measured("one", "a"),)), tmp_path)
    lines = (start("one"), measured("one", "a"), start("two"))
    with pytest.raises(InputError, match=r"run two has no finished case; name another with --run: one \(1 cases\)"):
        rebuild.rebuild(Contents(lines=lines), tmp_path)
    with pytest.raises(InputError, match=r"no run 'three'; name another with --run: one \(1 cases\)"):
        rebuild.rebuild(Contents(lines=lines), tmp_path, "three")
    assert main([str(written(tmp_path / "begun", *lines)), "--out", str(tmp_path / "run.json")]) == 3
    assert "two has no finished case" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "run.json")]) == 2
    there = tmp_path / "there.json"
    there.write_text("kept")
    assert main([str(written(tmp_path, *lines)), "--out", str(there)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "none is no file" in told[0]
    assert "there.json is there already" in told[1]
    assert there.read_text() == "kept"
