"""``python -m models``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models import CLASSIFIERS, LANGUAGE_MODELS
from models.__main__ import main
from models.summary import size_of

CHECKOUT = Path(__file__).parents[2]


def test_the_list_has_a_row_for_each_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    networks, language = capsys.readouterr().out.split("\n\n")
    header, *rows = networks.splitlines()
    assert header.split()[:2] == ["name", "from"]
    assert [row.split()[0] for row in rows] == list(CLASSIFIERS)
    assert [row.partition(":")[0] for row in language.splitlines()] == ["language models", *LANGUAGE_MODELS]
    small = rows[0].split()
    assert small[1:] == ["note", "4", "32x32", "10", "43,626", "1.1", "0.18"]
    assert len({len(row) for row in rows}) == 1


def test_the_size_of_cnn_small_is_that_of_its_layers() -> None:
    size = size_of(CLASSIFIERS["cnn_small"])
    convolutions = 27 * 8 * 32**2 + 72 * 16 * 16**2 + 144 * 32 * 8**2 + 288 * 64 * 4**2
    assert size.multiply_adds == convolutions + 256 * 64 + 64 * 32 + 32 * 10
    assert size.parameters == 43_626
    assert size.weight_bytes == 4 * (43_626 + 240) + 8 * 4


def test_multiply_adds_are_as_torchvision_publishes_them() -> None:
    assert size_of(CLASSIFIERS["resnet18"].at(224)).multiply_adds / 1e9 == pytest.approx(1.814, abs=0.0005)


def test_one_network_is_printed_layer_by_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet14_cifar"]) == 0
    output = capsys.readouterr().out
    assert output.count("Conv2d") == 1 + 12 + 2
    assert "[1, 64, 8, 8]" in output
    assert "Total params: 175,258" in output
    assert "Units." not in output


def test_the_image_size_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["squeezenet1_0", "--image-size", "224"]) == 0
    output = capsys.readouterr().out
    assert "[1, 3, 224, 224]" in output
    assert output.splitlines()[-1].split()[:4] == ["squeezenet1_0", "torchvision", "224x224", "1000"]


def test_the_users_own_network_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\ndef net(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))\n"
    )
    assert main([f"{path}:net", "--image-size", "8", "--classes", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[1:] == ["user", "8x8", "4", "772", "0.0", "0.00"]
    assert main([f"{path}:net", "--image-size", "9"]) == 2
    refused = capsys.readouterr().err
    assert "an image of 3x9x9 does not pass: RuntimeError: mat1 and mat2 shapes cannot be multiplied" in refused
    assert refused.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cnn_small", "--image-size", "224"], "cnn_small takes images of 32 to 47 a side, not 224"),
        (["resnet18", "--classes", "1001"], "resnet18 has a fixed head of 1000 outputs"),
        (["nowhere.py:net"], "there is no file nowhere.py"),
        (["--image-size", "224"], "--image-size goes with the NAME of one network"),
    ],
)
def test_what_cannot_be_had_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list() -> None:
    command = [sys.executable, "-m", "models", "resnt18"]
    finished = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=30)
    assert finished.returncode == 2
    assert finished.stderr.startswith("unknown network 'resnt18'. Did you mean resnet18")
    assert finished.stderr.endswith(f"Known: {', '.join(CLASSIFIERS)}.\n")
    assert finished.stderr.count("\n") == 1
