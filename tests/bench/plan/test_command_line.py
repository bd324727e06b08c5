"""Options become a plan; what cannot be used is refused in one line that says what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.budgets import BUDGETS, NOTES_CLASSIFIERS
from bench.core.errors import InputError
from bench.core.other_work import usable_cores
from bench.plan import command_line
from bench.plan.plan import Plan

DEFAULTS: dict[str, Any] = {"device": "cpu", "dataset": "mnist5k", "data_dir": "data"}


def make(**given: Any) -> Plan:
    return command_line.make_plan({**DEFAULTS, **given}.get)


def test_the_budget_fills_in_what_is_not_given() -> None:
    made = make()
    assert made.budget.name == "quick"
    assert made.trained == NOTES_CLASSIFIERS
    assert (made.rows, made.layers) == (BUDGETS["quick"].rows, BUDGETS["quick"].layers)
    assert made.threads == usable_cores()


def test_what_is_given_wins() -> None:
    made = make(models="cnn_small, resnet18", modes="eager", batch_sizes="1,8", seeds="3,4", repeats=2, threads=1)
    assert made.trained == ("cnn_small", "resnet18")
    assert {(rows.modes, rows.batch_sizes, rows.models) for rows in made.rows} == {(("eager",), (8, 1), None)}
    assert (made.seeds, made.repeats, made.threads) == ((3, 4), 2, 1)


def test_precisions_that_are_named_are_all_there_is() -> None:
    made = make(precisions="nf4,fp32")
    assert {rows.precisions for rows in made.rows if rows.runtime == "torch"} == {("nf4", "fp32")}
    assert {rows.precisions for rows in made.rows if rows.runtime != "torch"} == {("fp32",)}  # which have no nf4
    assert made.layers is not None
    assert made.layers.precisions == ("nf4", "fp32")


def test_networks_that_are_named_leave_single_layers_and_language_models_out() -> None:
    made = make(models="cnn_small")
    assert (made.layers, made.language) == (None, None)
    both = make(models="cnn_small", llm="smollm2-135m").language
    assert both is not None
    assert both.models == ("smollm2-135m",)


def test_what_is_said_of_language_models_wins() -> None:
    language = make(llm="owner/name", prompt_tokens="64,8", new_tokens=5, text_tokens=77).language
    assert language is not None
    assert (language.models, language.prompt_tokens) == (("owner/name",), (8, 64))
    assert (language.new_tokens, language.chat_tokens, language.text_tokens) == (5, 5, 77)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'. Known: auto, cpu, cuda, cuda:N"),
        ({"device": "cpu:1"}, "unknown device"),
        ({"budget": "quik"}, "unknown budget 'quik'. Did you mean quick.*smoke, quick, gpu, full"),
        ({"models": "resnet18_cifr"}, "unknown model 'resnet18_cifr'. Did you mean resnet18_cifar.*cnn_small"),
        ({"models": ","}, "--models ',' names nothing"),
        ({"models": "nowhere.py:network"}, "nowhere.py"),
        ({"precisions": "fp23"}, "unknown precision 'fp23'. Did you mean fp32"),
        ({"llm": "smollm"}, "unknown language model 'smollm'. Did you mean smollm2-135m.*OWNER/NAME, will also do"),
        ({"llm": "./nowhere"}, "language model './nowhere': there is no such folder"),
        ({"text": "novel"}, "unknown text 'novel'. Known: auto, python-topics, wikitext-2"),
        ({"track": "tensorbord"}, "unknown tracker 'tensorbord'. Did you mean tensorboard.*wandb, none"),
        ({"track": "none,tensorboard"}, "--track none,tensorboard names a tracker beside none"),
        ({"new_tokens": 1}, "--new-tokens 1 is below 2"),
        ({"prompt_tokens": "0"}, "--prompt-tokens 0 is below 1"),
        ({"modes": "jit"}, "unknown mode 'jit'.*eager, compiled"),
        ({"dataset": "mnist"}, "unknown data set 'mnist'. Did you mean mnist5k"),
        ({"dataset": "./nowhere"}, "nowhere' does not exist"),
        ({"batch_sizes": "1,x"}, "--batch-sizes 1,x is not a list of whole numbers"),
        ({"batch_sizes": "0"}, "--batch-sizes 0 is below 1"),
        ({"train_images": -1}, "--train-images -1 is below 0"),
        ({"repeats": 0}, "--repeats 0 is below 1"),
        ({"threads": 0}, "--threads 0 is below 1"),
        ({"models": "resnet18", "weights": "nowhere.pt"}, "--weights nowhere.pt is no file"),
        ({"weights": __file__}, "name it with --models"),
        ({"models": "resnet18,alexnet", "weights": __file__}, "fits one network"),
        ({"models": "resnet18", "normalize": "1,2"}, "--normalize 1,2 is not three means"),
        ({"models": "resnet18", "normalize": "0,0,0/1,1,0"}, "standard deviations above 0"),
        ({"models": "cnn_vgg", "image_size": 224}, "cnn_vgg takes images of 32 to 39 a side, not 224"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(**given)
    assert "\n" not in str(caught.value)


def test_home_is_expanded_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("weights.pt", "network.py", "text.txt", "vgg16-1.pth"):
        (tmp_path / name).write_text("some words")
    made = make(models="~/network.py:network", weights="~/weights.pt", data_dir="~/data", text="~/text.txt")
    assert (made.data_dir, made.user.weights) == (tmp_path / "data", str(tmp_path / "weights.pt"))
    assert made.text.file == tmp_path / "text.txt"
    full = make(budget="full", imagenet_weights="~")
    assert full.imagenet["vgg16"].file == tmp_path / "vgg16-1.pth"
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "pets" / part / label).mkdir(parents=True)
            (tmp_path / "pets" / part / label / "0.png").touch()
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "config.json").write_text("{}")
    assert make(dataset="~/pets").dataset == "~/pets"
    assert make(llm="~/llm").language is not None
    with pytest.raises(InputError, match="nowhere"):
        make(dataset="~/nowhere")


def test_data_lie_in_the_checkout_wherever_pytest_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make(data_dir=None).data_dir == Path(__file__).resolve().parents[3] / "data"
    assert make(data_dir="here").data_dir == Path("here")


def test_curves_are_drawn_by_default() -> None:
    assert make().track == ("tensorboard",)
    assert make(track="none").track == ()


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command_line.TRACKERS, "wandb", "no_such_package")
    with pytest.raises(InputError, match=r"--track wandb needs the package no_such_package.*install it"):
        make(track="tensorboard,wandb")


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "gpu_count", lambda: 1)
    assert make(device="auto").device == "cuda"
    assert make(device="cuda:0").device == "cuda:0"
    with pytest.raises(InputError, match="--device cuda:1 was asked for, but the driver finds 1 CUDA"):
        make(device="cuda:1")
    monkeypatch.setattr(command_line, "gpu_count", lambda: 0)
    assert make(device="auto").device == "cpu"
    with pytest.raises(InputError, match="use --device cpu"):
        make(device="cuda")


def test_budget_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "gpu_count", lambda: 1)
    assert make(device="auto").budget.name == "gpu"


def test_visible_devices_limit_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pynvml = pytest.importorskip("pynvml")
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert command_line.gpu_count() == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert command_line.gpu_count() == 2
    for nothing in ("", "-1", "-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert command_line.gpu_count() == 0
