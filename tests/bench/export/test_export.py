"""Exported files, run by an environment that holds their runtime and nothing else of the suite."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import models
from bench.export.__main__ import main
from tests.processes import export_in_a_process

MODEL = "resnet14_cifar"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    file = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(models.classifier(MODEL).build(10).state_dict(), file)
    return file


def refused(route: str, weights: Path, data_dir: Path, out: Path, *further: str, model: str = MODEL) -> int:
    return main([*map(str, arguments_of(route, weights, data_dir, out, model)), *further])


def arguments_of(route: str, weights: Path, data_dir: Path, out: Path, model: str = MODEL) -> list[str | Path]:
    asked: list[str | Path] = [route, "--models", model, "--weights", weights, "--out", out, "--threads", "1"]
    return [*asked, "--dataset", "mnist5k", "--data-dir", data_dir]


def environment(folder: Path, requirements: Path) -> Path:
    """Python of a fresh environment with these packages and what they need, by links to the ones that run the tests."""
    venv.create(folder, with_pip=False, symlinks=True)
    ours = Path(sysconfig.get_path("purelib"))
    (theirs,) = folder.glob("lib/python*/site-packages")
    names = [re.split(r"[=<>;# ]", line)[0] for line in requirements.read_text().splitlines()]
    for distribution in closure(names):
        for top in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = theirs / top
            if not link.exists() and (ours / top).exists():
                link.symlink_to(ours / top)
    return folder / "bin" / "python"


def closure(names: list[str]) -> list[metadata.Distribution]:
    """Distributions of these names and of all that they require without extras."""
    found: dict[str, metadata.Distribution] = {}
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform
            continue
        if name not in found:
            found[name] = distribution
            required = [line for line in distribution.requires or () if "extra ==" not in line]
            names += [re.split(r"[^\w.-]", line)[0] for line in required]
    return list(found.values())


ROUTES = {
    "onnxruntime:int8_static": ("torch", "openvino", "onnx"),
    "openvino:int8_static": ("torch", "onnxruntime", "nncf"),
    "torch:fp32:eager": ("openvino", "onnxruntime", "torchvision", "torchao", "pandas"),
}
"""Route -> packages that its environment does not hold."""


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_load_py_reproduces_the_route_with_its_runtime_alone(
    route: str, weights: Path, data_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_in_a_process(*arguments_of(route, weights, data_dir, out))
    python = environment(tmp_path / "venv", out / "requirements.txt")
    for package in ("bench", *ROUTES[route]):
        absent = subprocess.run([python, "-c", f"import {package}"], cwd=tmp_path, capture_output=True, text=True)
        assert "ModuleNotFoundError" in absent.stderr, package
    done = subprocess.run([python, "load.py"], cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((out / "about.json").read_text())["classes"] == list("0123456789")

    expected = np.load(out / "outputs.npy")
    np.save(out / "outputs.npy", expected + 0.2 * np.abs(expected).max())
    other = subprocess.run([python, "load.py"], cwd=out, capture_output=True, text=True, timeout=120)
    assert other.returncode == 1, "a difference of a fifth is not seen"

    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    done = subprocess.run([python, out / "classify.py", "image.png"], cwd=tmp_path, capture_output=True, text=True)
    assert re.fullmatch(r"image\.png: \d \(\d+%\)\n", done.stdout), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("route", ["torch:int8_static:compiled", "torch:nf4_weights:eager", "openvino:bf16"])
def test_other_conversions_reproduce_the_route(route: str, weights: Path, data_dir: Path, tmp_path: Path) -> None:
    export_in_a_process(*arguments_of(route, weights, data_dir, tmp_path / "out"), "--batch-size", "8")


def test_a_network_of_the_users_own_is_carried_along(data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n")
    model = f"{file}:net"
    torch.save(models.classifier(model).build(10).state_dict(), tmp_path / "own.pt")
    out = tmp_path / "out"
    export_in_a_process(*arguments_of("torch:bf16", tmp_path / "own.pt", data_dir, out, model))
    assert (out / "own.py").read_text() == file.read_text()
    texts = [(out / name).read_text() for name in ("load.py", "about.json")]
    assert not [text for text in texts if str(tmp_path) in text]


@pytest.mark.parametrize(
    ("route", "further", "part"),
    [
        ("openvino:int9", (), "int8_static"),
        ("torch:int8_static:eager", (), "compiled"),
        ("torch:tf32", (), "cuda"),
        ("torch:fp32", ("--batch-size", "0"), "1 or more"),
        ("torch:fp32", ("--recipe", "none_such"), "none_such"),
        ("torch:fp32", ("--image-size", "4"), "29 to 60"),
        ("torch:fp32", ("--normalize", "1,2"), "0.5,0.5,0.5"),
        ("torch:fp32", ("--dataset", "cifar11"), "cifar10"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    route: str,
    further: tuple[str, ...],
    part: str,
    weights: Path,
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused(route, weights, data_dir, tmp_path / "out", *further) == 2
    error = capsys.readouterr().err
    assert part in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_wrong_files_are_refused_in_one_line(
    weights: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused("torch:fp32", tmp_path / "none.pt", data_dir, tmp_path / "out") == 2
    assert "none.pt" in capsys.readouterr().err
    assert refused("torch:fp32", weights, data_dir, tmp_path) == 0
    assert refused("torch:fp32", weights, data_dir, tmp_path) == 2
    assert "new folder" in capsys.readouterr().err
    assert refused("torch:fp32", weights, data_dir, tmp_path / "other", model="resnet13") == 2
    assert "resnet14_cifar" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("route", "others"),
    [
        ("llama_cpp:q8_0", ("torch", "gguf", "bench")),
        pytest.param("openvino:int8_weights", ("torch", "nncf", "gguf", "bench"), marks=pytest.mark.slow),
        pytest.param("onnxruntime:int4_weights", ("torch", "transformers", "bench"), marks=pytest.mark.slow),
    ],
)
def test_a_language_model_runs_with_its_runtime_alone(route: str, others: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["--models", "smollm2-2-layers", "--out", str(out), "--threads", "1", "--data-dir", tmp_path / "data"]
    export_in_a_process(route, *asked)
    python = environment(tmp_path / "venv", out / "requirements.txt")
    done = subprocess.run([python, "load.py"], cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    answered = subprocess.run([python, "load.py", "The sea"], cwd=out, capture_output=True, text=True, timeout=120)
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip()
    for package in others:
        absent = subprocess.run([python, "-c", f"import {package}"], cwd=tmp_path, capture_output=True, text=True)
        assert "ModuleNotFoundError" in absent.stderr, package
