"""Published figures of the notes, by recipe: accuracies are fractions of 1, losses cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

CIFAR10_CLASSES = frozenset(
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR10_IMAGE_SIZE = 32
CIFAR10_TRAIN_IMAGES = 50_000
CIFAR10_TEST_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class Published:
    """One recipe's figures. All are of CIFAR-10's 10,000 test images, measured with the note's test-time faults on."""

    note: int
    epochs: int
    accuracy: float | None = None
    loss: float | None = None
    parameters: int | None = None
    text: str = ""


PUBLISHED: dict[str, Published] = {
    "note2_resnet_custom": Published(
        note=2,
        epochs=30,
        accuracy=0.876,
        text="loss of the last mini-batch 0.635 and 0.836 (epochs 1, 2), 0.0178 and 0.0028 (29, 30); "
        "20 to 34 steps/s, 46 to 77 s an epoch of 1563 steps",
    ),
    "note2_cnn_vgg": Published(
        note=2,
        epochs=100,
        text="loss of the last mini-batch 1.356 (epoch 1), 0.111 (10), 0.669 (20), 0.369 (30); "
        "less accurate than the 30-epoch ResNet",
    ),
    "note4_cnn_small": Published(note=4, epochs=10, accuracy=0.6486, loss=1.0315, parameters=43_626),
    "note4_resnet14_cifar": Published(note=4, epochs=3, accuracy=0.7314, loss=0.7578),
    "note4_resnet18": Published(note=4, epochs=3, accuracy=0.7031, loss=0.8566),
}

SPEEDRUNS = (
    "a standard ResNet-18 reaches 96 % in 7 minutes on an A100",
    "the record for any network is 94 % in 2.6 s on an A100",
)
"""CIFAR-10 on time, as others report it."""
