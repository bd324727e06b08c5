"""Who may import whom, and what the pytest process stays free of: the arrows of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

WORKER = {"bench.measure", "bench.data", "bench.precision", "bench.runtimes", "bench.train", "bench.experiments"}
"""Folders that only a worker imports."""
ALLOWED: dict[str, set[str]] = {
    "models": {"models"},
    "bench/core": {"bench.core"},
    "bench/plan": {"bench.core", "models", "bench.plan"},
    "bench/run": {"bench.core", "bench.plan", "bench.run", "bench.experiments", "bench.measure"},
    "conftest.py": {"bench.core", "bench.plan", "bench.run"},
    "bench/test_*.py": {"bench.plan"},
    "bench/measure": {"bench.core", "bench.measure"},
    "bench/data": {"bench.core", "bench.data"},
    "bench/precision": {"bench.core", "bench.measure", "bench.precision"},
    "bench/runtimes": {"bench.core", "bench.measure", "bench.precision", "bench.runtimes"},
    "bench/train": {"models", "bench.core", "bench.data", "bench.measure", "bench.train"},
    "bench/experiments": {"models", "bench.core", *WORKER},
    "bench/report": {"bench.core", "bench.report"},
    "bench/export": {
        "models",
        "bench.core",
        "bench.data",
        "bench.measure",
        "bench.runtimes",
        "bench.experiments",
        "bench.export",
    },
}
NEW = ("report", "runtimes", "export")
"""Folders under bench/ that the limit of modules leaves out."""
MOST_MODULES = 99
MOST_LINES = 400


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


def test_no_two_modules_import_each_other() -> None:
    """Strongly connected components of what is imported at import time, by Tarjan's algorithm."""
    graph = {name: early_imports(file) for name, file in modules().items()}
    graph = {name: targets & set(graph) for name, targets in graph.items()}
    assert [component for component in components(graph) if len(component) > 1] == []


def test_components_find_a_circle() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set[str](), "e": {"a"}}
    assert sorted(map(sorted, components(graph))) == [["a", "b", "c"], ["d"], ["e"]]


def modules() -> dict[str, Path]:
    """Files of bench/ by the names of their modules, packages apart."""
    files = [file for file in ROOT.glob("bench/**/*.py") if file.name != "__init__.py"]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}


def early_imports(file: Path) -> set[str]:
    """Modules that importing ``file`` imports, also as names of their package."""
    names = {name for name, at_import in imports(file) if at_import}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in names:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of ``graph``, whose values are keys of it."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    closed: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            place = stack.index(name)
            closed.append(set(stack[place:]))
            del stack[place:]

    for name in graph:
        if name not in index:
            visit(name)
    return closed


def test_modules_are_few_and_short() -> None:
    counted = [name for name in modules() if name.split(".")[1] not in NEW]
    assert len(counted) <= MOST_MODULES
    long = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


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
        "bench.plan.command_line",
        "bench.core.experiments",
        "bench.run",
        "bench.experiments",
        "bench.core.quality",
        "bench.precision",
        "bench.core.recipes",
        "bench.core.runtimes",
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


def test_what_the_fork_server_imports_leaves_cuda_alone() -> None:
    """On every device: bitsandbytes and transformers' models ask CUDA for its capability as they are imported."""
    code = """
import sys
import torch

def asked(*arguments, **options):
    raise AssertionError("CUDA was initialised")

torch.cuda._lazy_init = torch._C._cuda_init = asked
from importlib import import_module
from bench.run.process import LANGUAGE_PRELOAD, PRELOAD
for name in (*PRELOAD, *LANGUAGE_PRELOAD):
    import_module(name)
print([name for name in ("bitsandbytes", "transformers.modeling_utils") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
