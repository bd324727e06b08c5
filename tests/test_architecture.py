"""Who may import whom, and what the pytest process stays free of: the arrows of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ARTEFACTS = {"bench.train.artefacts"}
ALLOWED: dict[str, set[str]] = {
    "models": {"models"},
    "bench/core": {"bench.core"},
    "bench/plan": {"bench.core", "models", "bench.plan", "bench.train.tracking"},
    "bench/run": {"bench.core", "bench.plan", "bench.run", "bench.experiments", "bench.measure"} | ARTEFACTS,
    "conftest.py": {"bench.core", "bench.plan", "bench.run"},
    "bench/test_*.py": {"bench.plan", "bench.core"},
    "bench/experiments": {
        "models",
        "bench.core",
        "bench.experiments",
        "bench.precision",
        "bench.runtimes",
        "bench.measure",
        "bench.train",
        "bench.data",
    },
    "bench/train": {"models", "bench.core", "bench.train", "bench.data", "bench.measure"},
    "bench/precision": {"bench.core", "bench.precision", "bench.measure"},
    "bench/runtimes": {"bench.core", "bench.runtimes", "bench.measure"},
    "bench/measure": {"bench.core", "bench.measure"},
    "bench/data": {"bench.core", "bench.data"},
    "bench/report": {"bench.core", "bench.report"},
}


def sources() -> Iterator[tuple[Path, set[str]]]:
    for pattern, allowed in ALLOWED.items():
        path = ROOT / pattern
        files = path.rglob("*.py") if path.is_dir() else ROOT.glob(pattern)
        for file in files:
            yield file, allowed


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Modules of ours that ``file`` imports, and whether it does so as it is imported itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {id(node) for function in ast.walk(tree) if _is_function(function) for node in ast.walk(function)}
    for node in ast.walk(tree):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        if names == ["bench"]:
            names = [f"bench.{alias.name}" for alias in node.names]  # type: ignore[attr-defined]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] in ("bench", "models"):
                yield name, id(node) not in inside


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def permitted(name: str, allowed: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in allowed)


@pytest.mark.parametrize(
    ("file", "allowed"), [pytest.param(*pair, id=str(pair[0].relative_to(ROOT))) for pair in sources()]
)
def test_imports_follow_the_arrows(file: Path, allowed: set[str]) -> None:
    wrong = {name for name, _ in imports(file) if not permitted(name, allowed)}
    assert not wrong, f"{file.relative_to(ROOT)} may not import {', '.join(sorted(wrong))}"


def test_every_module_has_its_arrow() -> None:
    listed = {file for file, _ in sources()}
    ours = {*ROOT.glob("bench/**/*.py"), *ROOT.glob("models/**/*.py"), ROOT / "conftest.py"}
    assert {str(file.relative_to(ROOT)) for file in ours - listed} == {"bench/__init__.py"}


def test_the_run_reaches_experiments_only_inside_the_worker() -> None:
    for file in (ROOT / "bench/run").rglob("*.py"):
        early = {name for name, at_import in imports(file) if at_import}
        assert not {name for name in early if name.startswith(("bench.experiments", "bench.measure"))}, file.name


def loaded_after(statement: str) -> set[str]:
    """Which heavy modules a fresh interpreter holds after ``statement``."""
    heavy = "torch", "torchvision", "numpy", "pandas", "matplotlib"
    code = f"import sys\n{statement}\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ast.literal_eval(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "modules",
    [
        "models",
        "bench.plan.plan",
        "bench.plan.options",
        "bench.run",
        "bench.experiments",
        "bench.core.labels",
        "bench.precision",
        "bench.core.recipes",
        "bench.core.runtimes",
        "bench.train.tracking",
        "bench.run.session",
    ],
)
def test_names_are_free_of_torch(modules: str) -> None:
    assert loaded_after(f"import {modules}") == set()


def test_the_report_is_free_of_torch() -> None:
    assert loaded_after("import bench.report.__main__, bench.report.render") <= {"numpy", "pandas", "matplotlib"}


def test_collecting_imports_no_torch() -> None:
    arguments = ["bench", "--collect-only", "-q", "--dataset", "mnist5k", "-p", "no:cacheprovider"]
    assert loaded_after(f"import pytest\npytest.main({arguments})") == set()
