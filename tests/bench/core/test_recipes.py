from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from bench.core.errors import InputError
from bench.core.recipes import HELD_OUT, RECIPES, TestFaults, recipe, recipe_for

TORCHVISION = [
    "alexnet",
    "vgg16",
    "squeezenet1_0",
    "densenet161",
    "inception_v3",
    "googlenet",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "mnasnet1_0",
]
COLUMNS = "model optimizer learning_rate momentum weight_decay milestones batch_size epochs crop_padding flip normalize"
# What the notes say, row by row, in the order of COLUMNS.
PUBLISHED = {
    "note0_resnet18_cifar": ("resnet18_cifar", "sgd", 0.1, 0.9, 0.0002, (50, 100), 128, 150, 4, True, "none"),
    "note1_resnet_custom": ("resnet_custom", "adam", 0.0001, 0, 0, (), 32, 30, 4, True, "usual"),
    "note2_resnet_custom": ("resnet_custom", "adam", 0.0001, 0, 0, (), 32, 30, 1, True, "usual"),
    "note2_cnn_vgg": ("cnn_vgg", "adam", 0.001, 0, 0, (), 32, 100, 4, True, "usual"),
    "note4_cnn_small": ("cnn_small", "adam", 0.001, 0, 0, (), 64, 10, None, True, "half"),
    "note4_resnet14_cifar": ("resnet14_cifar", "adam", 0.001, 0, 0, (), 64, 3, None, True, "half"),
    "note4_resnet18": ("resnet18", "adam", 0.001, 0, 0, (), 64, 3, None, True, "half"),
    "note4_torchvision": (None, "adam", 0.001, 0, 0, (), 64, 3, None, True, "half"),
    "user": (None, "adam", 0.001, 0, 0, (), 64, 10, 4, True, "computed"),
}
FAULTS = {
    "note0_resnet18_cifar": TestFaults(),
    "note1_resnet_custom": TestFaults(flip=True, crop_padding=4, train_mode=True),
    "note2_resnet_custom": TestFaults(flip=True, crop_padding=1, train_mode=True),
    "note2_cnn_vgg": TestFaults(flip=True, crop_padding=4, train_mode=True),
    "note4_cnn_small": TestFaults(flip=True, dropout=True),
    "note4_resnet14_cifar": TestFaults(flip=True),
    "note4_resnet18": TestFaults(flip=True),
    "note4_torchvision": TestFaults(flip=True),
    "user": TestFaults(),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_is_the_notes(name: str) -> None:
    found = RECIPES[name]
    assert tuple(getattr(found, column) for column in COLUMNS.split()) == PUBLISHED[name]
    assert found.faults == FAULTS[name]
    assert found.note == (int(name[4]) if name.startswith("note") else None)
    assert found.select == ("validation" if name == "user" else "last")


def test_note_0_says_its_loader() -> None:
    assert (RECIPES["note0_resnet18_cifar"].workers, RECIPES["note0_resnet18_cifar"].test_batch_size) == (2, 100)


def test_every_reproduction_has_a_twin_that_holds_out_and_is_otherwise_the_same() -> None:
    reproductions = [name for name in PUBLISHED if name != "user"]
    shortened = {
        "short_resnet18_cifar",
        "speedrun_resnet18_cifar",
        "note2_transfer",
        "transfer_resnet18_cifar",
    }
    assert set(RECIPES) == {*PUBLISHED, *shortened, *(name + HELD_OUT for name in reproductions)}
    for name in reproductions:
        twin = RECIPES[name + HELD_OUT]
        assert (twin.select, twin.patience) == ("validation", 10)
        assert replace(twin, name=name, select="last", patience=None) == RECIPES[name]


def test_names_in_the_table_are_those_of_the_recipes() -> None:
    assert [found.name for found in RECIPES.values()] == list(RECIPES)


def test_recipe_for_takes_the_one_that_reproduces() -> None:
    for name, values in PUBLISHED.items():
        if values[0] and name != "note1_resnet_custom":
            assert recipe_for(values[0]).name == name
    assert {recipe_for(model).name for model in TORCHVISION} == {"note4_torchvision"}
    assert recipe_for("mine.py:network").name == "user"


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown recipe 'note4_cnn'.* Did you mean .*note4_cnn_small"):
        recipe("note4_cnn")
    with pytest.raises(InputError, match=r"unknown model 'resnet81'.* Did you mean .*resnet18"):
        recipe_for("resnet81")


def test_recipes_and_names_of_artefacts_need_no_torch() -> None:
    code = "import sys, bench.core.recipes, bench.core.workspace; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
