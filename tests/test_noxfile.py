"""``nox -s bench`` reports what was measured, and never an earlier run as this one. nox itself is not needed here."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import bench.run.session
from bench.run import rebuild
from bench.run.journal import Journal, RunStart
from tests.bench.report.conftest import Maker

ROOT = Path(__file__).resolve().parents[1]


class Ended(Exception):
    """What ``session.error`` raises."""


class Session:
    """Notes the commands that it is given."""

    posargs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.allowed: list[int] = []

    def run(self, *command: str, success_codes: tuple[int, ...] = (0,), **options: Any) -> None:
        self.commands.append(command)
        self.allowed += success_codes

    def error(self, message: str) -> None:
        raise Ended(message)

    def log(self, message: str) -> None:
        pass


def decorator(*functions: Callable[..., Any], **options: Any) -> Any:
    return functions[0] if functions else lambda function: function


@pytest.fixture
def noxfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "results").mkdir()
    fake: Any = ModuleType("nox")
    fake.options, fake.session, fake.Session = SimpleNamespace(), decorator, Session
    fake.project = SimpleNamespace(load_toml=lambda path: {})
    monkeypatch.setitem(sys.modules, "nox", fake)
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "suite_python", lambda session: "python")
    return module


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[str], None]:
    """Makes a run begin in the journal of ``results``."""
    journal = Journal(tmp_path / "results" / "journal.jsonl")
    return lambda run: journal.append(RunStart(run=run, marks={}, facts={}, commit={}))


def ended(noxfile: Any, status: int, happens: Callable[[], object]) -> tuple[str, Session]:
    """How a session ends whose pytest does what ``happens`` does, and the session."""

    def run_to_its_end(command: list[str]) -> int:
        happens()
        return status

    noxfile.run_to_its_end = run_to_its_end
    session = Session()
    with pytest.raises(Ended) as caught:
        noxfile.bench(session)
    return str(caught.value), session


def test_a_killed_run_is_made_of_its_own_lines(noxfile: Any, begin: Callable[[str], None]) -> None:
    begin("earlier")
    _, session = ended(noxfile, -9, lambda: begin("this"))
    assert session.commands == [
        ("python", "-m", "bench.run.rebuild", noxfile.JOURNAL, "--out", noxfile.RESULT, "--run", "this")
    ]
    assert set(session.allowed) == {0, rebuild.NOTHING_FINISHED}


def test_a_run_killed_before_it_begins_is_none(noxfile: Any, begin: Callable[[str], None], tmp_path: Path) -> None:
    """Its journal was repaired, and is newer for that."""
    begin("earlier")
    journal = tmp_path / "results" / "journal.jsonl"
    message, session = ended(noxfile, -9, lambda: journal.write_bytes(journal.read_bytes() + b"\n"))
    assert message == "nothing was measured (pytest ended with status -9)"
    assert session.commands == []


def test_a_run_that_is_refused_reports_nothing_of_another(noxfile: Any, begin: Callable[[str], None]) -> None:
    """Which may have begun meanwhile: it has the folder."""
    message, session = ended(noxfile, 4, lambda: begin("another"))
    assert message == "nothing was measured (pytest ended with status 4)"
    assert session.commands == []


def test_all_tests_run_in_some_processes_and_a_choice_in_one(noxfile: Any) -> None:
    def runs(*given: str) -> list[tuple[str, ...]]:
        session: Any = Session()
        session.posargs = given
        noxfile.tests(session)
        return [command[3:] for command in session.commands if command[2] == "pytest"]

    assert runs("-k", "clock") == [("tests", "-k", "clock")]
    *apart, rest, slow = runs()
    assert apart == [(folder, "-m", "not slow") for folder in noxfile.APART]
    assert all((ROOT / folder).is_dir() for folder in noxfile.APART)
    assert rest == ("tests", *(f"--ignore={folder}" for folder in noxfile.APART), "-m", "not slow")
    assert slow == ("tests", "-m", "slow")


def test_an_edit_of_the_code_is_told(noxfile: Any, tmp_path: Path) -> None:
    result = tmp_path / "results" / "run.json"
    message, session = ended(noxfile, bench.run.session.CODE_CHANGED, lambda: result.write_text("{}"))
    assert message == "the code was edited meanwhile: the report holds what was measured before that"
    assert [command[3] for command in session.commands] == ["render"]


@pytest.mark.parametrize(("sizes", "status"), [((1000, 1000), None), ((1000, 1001), 1), ((1000, None), 2)])
def test_compare_ends_with_the_status_of_the_comparison(
    noxfile: Any, tmp_path: Path, sizes: tuple[int, int | None], status: int | None
) -> None:
    """nox itself would end with 1 whatever a command ends with."""
    make = Maker()
    paths = [tmp_path / str(place) / "run.json" for place in range(2)]
    for path, size in zip(paths, sizes, strict=True):
        if size is not None:
            make.write(path, [make.inference(weight_bytes=size)])
    session: Any = Session()
    session.bin, session.posargs = str(Path(sys.executable).parent), tuple(map(str, paths))
    session.install = lambda *packages: None
    noxfile.needs, noxfile.ROOT = lambda names: [], ROOT
    if status is None:
        noxfile.compare(session)
        return
    with pytest.raises(SystemExit) as caught:
        noxfile.compare(session)
    assert caught.value.code == status


def test_every_session_that_is_named_exists(noxfile: ModuleType) -> None:
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {name for file in files for name in re.findall(r"nox -s (\w+)", file.read_text())}
    assert {"bench", "cluster", "compare", "tests"} <= named
    assert [name for name in named if not callable(getattr(noxfile, name, None))] == []
