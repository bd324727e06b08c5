"""Recipes of trainings, as data: the recipes of the notes, their held-out twins and one for the user's own network.

Standard library only: the pytest process names recipes without importing torch.

A recipe that reproduces a published figure trains on all training images and counts its last epoch. Its twin, named
with the suffix ``_heldout``, sets images aside and counts the epoch that is best on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from bench.core.errors import unknown_name


@dataclass(frozen=True, kw_only=True)
class TestFaults:
    """Faults of a note's testing. Only the accuracy "as the note measured" has these on."""

    __test__ = False  # its name begins with Test: pytest is not to collect it

    flip: bool = False
    """Test images are flipped at random."""
    crop_padding: int | None = None
    """Test images are cropped at random from an image padded by so many pixels."""
    dropout: bool = False
    """Dropout stays on, the rest of the network is in evaluation mode."""
    train_mode: bool = False
    """No ``model.eval()``: dropout is on and batch norm takes its statistics from the test batch."""

    @property
    def any(self) -> bool:
        return self != TestFaults()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Recipe of a training. Learning rates are per step, ``milestones`` are epochs counted from 0."""

    name: str
    note: int | None
    model: str | None
    """The one network that it is for; None is any."""
    optimizer: Literal["sgd", "adam"]
    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    """Epochs before which the learning rate is divided by 10."""
    one_cycle: float | None = None
    """Instead of milestones: the share of all steps over which the rate rises to ``learning_rate``, to fall to zero
    after it (L. Smith, *Super-Convergence*, 2018)."""
    label_smoothing: float = 0.0
    averaging: float | None = None
    """Share of a running mean of the weights that stays at each step; the mean is what counts. None: no mean."""
    batch_size: int
    test_batch_size: int | None = None
    """Images a batch when testing as the note does; None is ``batch_size``."""
    epochs: int
    workers: int = 2
    crop_padding: int | None = None
    flip: bool
    alternate_flip: bool = False
    """Each image is mirrored in every other epoch, instead of by chance."""
    normalize: str
    """``none``, ``usual`` (CIFAR-10's constants), ``half`` or ``computed`` (from the training images), or three means,
    a slash and three standard deviations."""
    select: Literal["last", "validation"] = "last"
    """The epoch that counts: the last, or the best on held-out training images."""
    patience: int | None = None
    """Stop early after so many epochs, from the last milestone on, in which the loss on held-out images has not fallen
    below its lowest."""
    faults: TestFaults = field(default_factory=TestFaults)


_NOTE_0_RESNET18 = Recipe(
    name="note0_resnet18_cifar",
    note=0,
    model="resnet18_cifar",
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=2e-4,
    milestones=(50, 100),
    batch_size=128,
    test_batch_size=100,
    epochs=150,
    crop_padding=4,
    flip=True,
    normalize="none",
)
_NOTE_1_RESNET = Recipe(
    name="note1_resnet_custom",
    note=1,
    model="resnet_custom",
    optimizer="adam",
    learning_rate=1e-4,
    batch_size=32,
    epochs=30,
    crop_padding=4,
    flip=True,
    normalize="usual",
    faults=TestFaults(flip=True, crop_padding=4, train_mode=True),
)
_NOTE_2_RESNET = replace(
    _NOTE_1_RESNET,
    name="note2_resnet_custom",
    note=2,
    crop_padding=1,
    faults=TestFaults(flip=True, crop_padding=1, train_mode=True),
)
_NOTE_2_CNN = replace(_NOTE_1_RESNET, name="note2_cnn_vgg", note=2, model="cnn_vgg", learning_rate=1e-3, epochs=100)
_NOTE_4_CNN = Recipe(
    name="note4_cnn_small",
    note=4,
    model="cnn_small",
    optimizer="adam",
    learning_rate=1e-3,
    batch_size=64,
    epochs=10,
    flip=True,
    normalize="half",
    faults=TestFaults(flip=True, dropout=True),
)
# Of note 4's networks only cnn_small has the dropout that ignores eval(); torchvision's own obeys it.
_NOTE_4_RESNET14 = replace(
    _NOTE_4_CNN, name="note4_resnet14_cifar", model="resnet14_cifar", epochs=3, faults=TestFaults(flip=True)
)
_NOTE_4_RESNET18 = replace(_NOTE_4_RESNET14, name="note4_resnet18", model="resnet18")
_NOTE_4_TORCHVISION = replace(_NOTE_4_RESNET14, name="note4_torchvision", model=None)

_USER = Recipe(
    name="user",
    note=None,
    model=None,
    optimizer="adam",
    learning_rate=1e-3,
    batch_size=64,
    epochs=10,
    crop_padding=4,
    flip=True,
    normalize="computed",
    select="validation",
    patience=5,
)

# Note 0's rate of 0.1 and its crops need far more steps than a short training has: it ends at chance. With this one
# batch norm's running statistics keep up within fifty steps.
_SHORT_RESNET18 = Recipe(
    name="short_resnet18_cifar",
    note=None,
    model="resnet18_cifar",
    optimizer="adam",
    learning_rate=3e-4,
    batch_size=16,
    epochs=10,
    flip=True,
    normalize="half",
)

# Untouched ImageNet weights want ImageNet's statistics, which note 2 does not give them.
_NOTE_2_TRANSFER = replace(
    _NOTE_2_CNN,
    name="note2_transfer",
    model=None,
    learning_rate=1e-4,
    epochs=30,
    normalize="0.485,0.456,0.406/0.229,0.224,0.225",
    faults=TestFaults(),
)

# From five classes to the other five, by one recipe whatever learns, so that only the beginning differs. Note 0's rate
# of 0.1 would undo within some steps what was learnt, the usual 1e-4 of fine-tuning would leave a network from scratch
# behind in so few images: this lies between. Normalised as the training before it.
_TRANSFER_RESNET18 = replace(
    _NOTE_0_RESNET18,
    name="transfer_resnet18_cifar",
    note=None,
    optimizer="adam",
    learning_rate=3e-4,
    momentum=0.0,
    weight_decay=0.0,
    milestones=(),
    epochs=30,
)

# One rise and fall of a high rate, alternated flips, smoothed labels and a running mean of the weights, as in the short
# trainings of K. Jordan (2024) and D. Page (2018), in sizes that fit note 0's network. How many epochs 94 % take is
# chosen by what others publish of such networks and batches: nobody has run it to the end on a GPU yet.
_SPEEDRUN = Recipe(
    name="speedrun_resnet18_cifar",
    note=None,
    model="resnet18_cifar",
    optimizer="sgd",
    learning_rate=0.4,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    one_cycle=0.2,
    label_smoothing=0.1,
    averaging=0.98,
    batch_size=512,
    epochs=16,
    crop_padding=4,
    flip=True,
    alternate_flip=True,
    normalize="usual",
)

HELD_OUT = "_heldout"


def _held_out(recipe: Recipe) -> Recipe:
    return replace(recipe, name=recipe.name + HELD_OUT, select="validation", patience=10)


RECIPES: dict[str, Recipe] = {
    "note0_resnet18_cifar": _NOTE_0_RESNET18,
    "note0_resnet18_cifar_heldout": _held_out(_NOTE_0_RESNET18),
    "note1_resnet_custom": _NOTE_1_RESNET,
    "note1_resnet_custom_heldout": _held_out(_NOTE_1_RESNET),
    "note2_resnet_custom": _NOTE_2_RESNET,
    "note2_resnet_custom_heldout": _held_out(_NOTE_2_RESNET),
    "note2_cnn_vgg": _NOTE_2_CNN,
    "note2_cnn_vgg_heldout": _held_out(_NOTE_2_CNN),
    "note4_cnn_small": _NOTE_4_CNN,
    "note4_cnn_small_heldout": _held_out(_NOTE_4_CNN),
    "note4_resnet14_cifar": _NOTE_4_RESNET14,
    "note4_resnet14_cifar_heldout": _held_out(_NOTE_4_RESNET14),
    "note4_resnet18": _NOTE_4_RESNET18,
    "note4_resnet18_heldout": _held_out(_NOTE_4_RESNET18),
    "note4_torchvision": _NOTE_4_TORCHVISION,
    "note4_torchvision_heldout": _held_out(_NOTE_4_TORCHVISION),
    "note2_transfer": _NOTE_2_TRANSFER,
    "transfer_resnet18_cifar": _TRANSFER_RESNET18,
    "short_resnet18_cifar": _SHORT_RESNET18,
    "speedrun_resnet18_cifar": _SPEEDRUN,
    "user": _USER,
}

_REPRODUCTION: dict[str, str] = {
    "resnet18_cifar": "note0_resnet18_cifar",
    "resnet_custom": "note2_resnet_custom",  # note 1's own sizes do not fit together
    "cnn_vgg": "note2_cnn_vgg",
    "cnn_small": "note4_cnn_small",
    "resnet14_cifar": "note4_resnet14_cifar",
    "resnet18": "note4_resnet18",
    "alexnet": "note4_torchvision",
    "vgg16": "note4_torchvision",
    "squeezenet1_0": "note4_torchvision",
    "densenet161": "note4_torchvision",
    "inception_v3": "note4_torchvision",
    "googlenet": "note4_torchvision",
    "shufflenet_v2_x1_0": "note4_torchvision",
    "mobilenet_v2": "note4_torchvision",
    "resnext50_32x4d": "note4_torchvision",
    "wide_resnet50_2": "note4_torchvision",
    "mnasnet1_0": "note4_torchvision",
}


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


def recipe_for(model: str) -> Recipe:
    """The recipe that reproduces ``model``; ``user`` for a reference to the user's own network (``FILE.py:callable``).

    Raises:
        InputError: ``model`` is neither one of the suite nor a reference.
    """
    if model in _REPRODUCTION:
        return RECIPES[_REPRODUCTION[model]]
    if ":" in model:
        return RECIPES["user"]
    raise unknown_name("model", model, _REPRODUCTION)
