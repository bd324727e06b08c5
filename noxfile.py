"""Sessions: ``nox -s bench`` measures and writes the report, ``nox -s tests`` checks the suite itself.

bench and tests share one environment, since torch alone takes 6 GB; the others need no torch and have small ones.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
SUITE = ROOT / ".nox" / "suite"
"""The environment with torch."""
COMPARE_NEEDS = ("numpy", "pandas", "scipy", "tabulate")
REPORT_NEEDS = ("matplotlib", *COMPARE_NEEDS)
RESULT = "results/run.json"
JOURNAL = "results/journal.jsonl"
REPORT = "reports"
INTERRUPTED, REFUSED = 2, 4
"""pytest's exit status after Ctrl-C, and where it was asked for what cannot be done."""
CODE_CHANGED = 6
"""Exit status of bench.run.session where the suite's code was edited while it measured."""
NOTHING_FINISHED = 3
"""Exit status of bench.run.rebuild where no case was finished."""
TEST_PROCESSES = (("tests", "-m", "not slow"), ("tests", "-m", "slow"))
"""Arguments of pytest for all tests, one process each: what fails quickly is seen first."""
RUN_BEGINS = re.compile(rb'^{"schema":\d+,"kind":"run","run":"(\w+)"', re.MULTILINE)
"""Begin of a line of the journal that says that a run begins."""


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Train, evaluate and time; then write reports/index.html and summary.md. Options after -- go to pytest."""
    if any(option.startswith("--benchmark-json") for option in session.posargs):
        session.error(f"bench writes {RESULT} and reports on it: to write elsewhere, run pytest in {SUITE}")
    python, result, journal = suite_python(session), ROOT / RESULT, ROOT / JOURNAL
    earlier, known = changed(result), runs_in(journal)
    command = [python, "-m", "pytest", "bench", "--benchmark-json", RESULT, "--benchmark-quiet", *session.posargs]
    status = run_to_its_end(command)
    begun = runs_in(journal) - known if status != REFUSED else set()
    if begun and not result.exists():  # pytest was killed, or could not write its JSON
        rebuild = [python, "-m", "bench.run.rebuild", JOURNAL, "--out", RESULT, "--run", begun.pop()]
        session.run(*rebuild, external=True, success_codes=[0, NOTHING_FINISHED])
    if changed(result) in (None, earlier):
        session.error(f"nothing was measured (pytest ended with status {status})")
    if (changed(ROOT / REPORT / "summary.md") or 0) < (changed(result) or 0):  # pytest did not get to it
        session.run(python, "-m", "bench.report", "render", RESULT, "--out", REPORT, "--screen", external=True)
    session.log(f"open {REPORT}/index.html in a browser or read {REPORT}/summary.md; every number of it is in {RESULT}")
    if status == INTERRUPTED or status < 0:
        session.error("interrupted: the report holds what was finished, and --resume goes on from it")
    if status == CODE_CHANGED:
        session.error("the code was edited meanwhile: the report holds what was measured before that")
    if status:
        session.error(f"some cases failed, see the report's list of failures (pytest ended with status {status})")


def changed(file: Path) -> int | None:
    """Time of the last change of ``file``, in nanoseconds; None if it is not there."""
    return file.stat().st_mtime_ns if file.exists() else None


def runs_in(journal: Path) -> set[str]:
    """Names of the runs that have begun to measure, by their journal."""
    return {name.decode() for name in RUN_BEGINS.findall(journal.read_bytes())} if journal.exists() else set()


def run_to_its_end(command: list[str]) -> int:
    """Exit status of ``command``. Ctrl-C reaches it as well: it is waited for while it writes what is done."""
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


@nox.session(venv_backend="none")
def export(session: nox.Session) -> None:
    """Write a route as files that run elsewhere: -- ROUTE --models NAME --weights FILE --out DIR."""
    session.run(suite_python(session), "-m", "bench.export", *session.posargs, external=True)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Lint, types and the suite's own tests, in the environment of bench. Options after -- go to pytest."""
    python = suite_python(session)
    session.run(python, "-m", "ruff", "check", ".", external=True)
    session.run(python, "-m", "ruff", "format", "--check", ".", external=True)
    session.run(python, "-m", "mypy", external=True)
    for part in [("tests", *session.posargs)] if session.posargs else TEST_PROCESSES:
        session.run(python, "-m", "pytest", *part, external=True)


@nox.session(venv_backend="none")
def cluster(session: nox.Session) -> None:
    """Run the smoke budget on a Ray cluster of two nodes on this machine. Options after -- go to pytest."""
    python = suite_python(session)
    smoke = ["bench", "--budget", "smoke", "--device", "cpu", "--benchmark-json", "results/cluster/run.json"]
    session.run(python, "tests/check_cluster.py", *smoke, *session.posargs, external=True)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Lint alone, in seconds and without torch."""
    session.install("-c", "constraints.txt", "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(reuse_venv=True)
def report(session: nox.Session) -> None:
    """Write the report again from JSON files named after -- (default: results/run.json). Needs no torch."""
    session.install("-c", "constraints.txt", *needs(REPORT_NEEDS))
    session.run("python", "-m", "bench.report", "render", *(session.posargs or [RESULT, "--out", REPORT]))


@nox.session(reuse_venv=True)
def compare(session: nox.Session) -> None:
    """Compare two runs: -- OLD.json NEW.json [--out FILE] [--anyway]. Fails on a regression. Needs no torch."""
    session.install("-c", "constraints.txt", *needs(COMPARE_NEEDS))
    command = [str(Path(session.bin) / "python"), "-m", "bench.report", "compare", *session.posargs]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:  # nox itself ends with 1 whatever a command ends with
        sys.exit(status)


def suite_python(session: nox.Session) -> str:
    """Python of the environment with torch, installed into when what it should hold has changed."""
    python = SUITE / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    optional = PROJECT["project"]["optional-dependencies"]["cluster"]
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["tests"], *optional]
    carried = PROJECT["dependency-groups"]["models"]
    mark = SUITE / "installed.txt"
    shaping = [*wanted, *carried, Path("constraints.txt").read_text(), sys.version]
    digest = hashlib.sha256("\n".join(shaping).encode()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        session.log(f"installing torch and the rest into {SUITE.relative_to(ROOT)}: about 6 GB, some minutes")
        session.run(sys.executable, "-m", "virtualenv", "--clear", "--quiet", str(SUITE), external=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "-c", "constraints.txt"]
        session.run(*install, *wanted, external=True, silent=True)
        session.run(*install, "--no-deps", *carried, external=True, silent=True)
        mark.write_text(digest)
    return str(python)


def needs(names: tuple[str, ...]) -> list[str]:
    """The project's own requirements on these packages."""
    dependencies: list[str] = PROJECT["project"]["dependencies"]
    return [dependency for dependency in dependencies if dependency.startswith(names)]
