"""Random small networks at every precision of classifiers: right, unsupported or refused, and never silently wrong.

    python tests/check_fuzz.py [SEEDS]      # 200 networks, some minutes; prints each that is wrong

The reference is the network itself, built anew and run in torch without any of the suite's code.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import models
from bench.core.errors import Unsupported
from bench.core.precisions import PRECISIONS
from bench.experiments.reference import look_at
from bench.precision.converted import Setting, converter_of
from bench.precision.weights import settle

SIDE = 12
SHAPE = (3, SIDE, SIDE)
IMAGES = 8
TOLERANCE = {16: 0.05, 8: 0.08, 4: 0.6}
"""Largest relative error of outputs, by the bits of a weight: random networks amplify what trained ones average."""
EAGER = tuple(
    name
    for name, precision in PRECISIONS.items()
    if precision.convert and name not in ("fp32", "tf32", "fp16", "int8_static")
)
"""Precisions that run eagerly on a CPU."""


class Twice(nn.Module):
    """One module in two places."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first = self.second = layer

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(x).relu())
        return found


class Tied(nn.Module):
    """Two linear layers with one parameter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(self.a(x).tanh())
        return found


class Scaled(nn.Module):
    """A buffer and a parameter of one number beside the layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.gain = layer, nn.Parameter(torch.tensor(0.7))
        self.register_buffer("shift", torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x) * self.gain + self.shift
        return found


class ByHand(nn.Module):
    """Reads the weight of a layer outside of the layer's forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.linear(self.layer(x).tanh(), self.layer.weight)


def network(seed: int) -> nn.Module:
    """A network of a few random blocks, the same for the same seed; maps (N, 3, 12, 12) to (N, 5)."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    channels = draw.choice([4, 7, 8])
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, stride=draw.choice([1, 2]), padding=draw.choice([0, 1]))]
    for _ in range(draw.randrange(3)):
        layers += [draw.choice([nn.ReLU, nn.Tanh, nn.GELU])(), _convolution(draw, channels)]
    if draw.random() < 0.4:
        layers.append(nn.BatchNorm2d(channels))
    layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    width = channels * 4
    for _ in range(draw.randrange(1, 4)):
        layers += [_linear(draw, width), nn.ReLU()]
    whole: nn.Module = nn.Sequential(*layers, nn.Linear(width, 5))
    return nn.Sequential(whole) if draw.random() < 0.3 else whole


def _convolution(draw: random.Random, channels: int) -> nn.Module:
    groups = draw.choice([1, channels])
    layer = nn.Conv2d(channels, channels, draw.choice([1, 3]), padding="same", groups=groups, bias=draw.random() < 0.5)
    if draw.random() < 0.2:
        return Twice(layer)
    return parametrizations.weight_norm(layer) if draw.random() < 0.2 else layer


def _linear(draw: random.Random, width: int) -> nn.Module:
    kind = draw.randrange(8)
    if kind == 0:
        return Tied(width)
    if kind == 1:
        return Twice(nn.Linear(width, width))
    if kind == 2:
        return ByHand(width)
    layer = nn.Linear(width, width, bias=draw.random() < 0.7)
    if kind == 3:
        return Scaled(layer)
    if kind == 4:
        return parametrizations.spectral_norm(layer)
    if kind == 5:
        layer.register_forward_hook(lambda module, inputs, output: output * 1.5)
    return layer


def settled(seed: int) -> nn.Module:
    found = network(seed).eval()
    settle(found)
    models.adapt(found, SHAPE)
    return found


def outcome(seed: int, precision: str) -> str:
    """``right``, ``unsupported``, or what is wrong, of one network at one precision."""
    chosen = PRECISIONS[precision]
    images = torch.rand(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(seed))
    setting = Setting(
        device=torch.device("cpu"), batch_size=IMAGES, image_shape=SHAPE, calibration=lambda: iter([images])
    )
    with torch.no_grad():
        expected = network(seed).eval()(images)
        try:
            converted = converter_of(chosen)(settled(seed), setting)
            look_at(lambda: settled(seed), SHAPE).check(converted.network, chosen)
        except Unsupported:
            return "unsupported"
        found = converted.network(images.to(converted.input_dtype)).float()
    error = float((found - expected).norm() / expected.norm())
    bits = min(chosen.weight_bits, chosen.activation_bits)
    return "right" if error <= TOLERANCE[bits] else f"{precision}: off by {error:.1%}"


def main(seeds: int) -> int:
    outcomes = Counter[str]()
    for seed in range(seeds):
        for precision in EAGER:
            try:
                found = outcome(seed, precision)
            except Exception as error:
                found = f"{precision}: {type(error).__name__}: {str(error)[:150]}"
            outcomes[found if found in ("right", "unsupported") else "wrong"] += 1
            if found not in ("right", "unsupported"):
                print(f"seed {seed}: {found}", flush=True)
    print(f"{seeds} networks at {len(EAGER)} precisions: {dict(outcomes)}")
    return 1 if outcomes["wrong"] else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
