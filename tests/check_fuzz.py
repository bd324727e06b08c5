"""Random small networks at every precision and in every runtime: right, unsupported or refused, never silently wrong.

    python tests/check_fuzz.py [SEEDS [FIRST]]      # 200 networks, half an hour; prints each that is wrong

The reference is the network itself, built anew and run in torch without any of the suite's code.
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import models
from bench.core.errors import Unsupported
from bench.core.precisions import PRECISIONS
from bench.core.records import Case
from bench.core.runtimes import RUNTIMES, why_not
from bench.core.workspace import Workspace
from bench.experiments.reference import look_at
from bench.precision.converted import Setting, converter_of
from bench.precision.weights import settle
from bench.runtimes.route import Order, preparer_of

SIDE = 12
SHAPE = (3, SIDE, SIDE)
IMAGES = 8
TOLERANCE = {32: 1e-4, 16: 0.05, 8: 0.08, 4: 0.6}
"""Largest relative error of outputs, by the bits of a weight: random networks amplify what trained ones average."""
STATIC_TOLERANCE = 0.25
"""Of int8 with scales of activations that were set beforehand: each layer rounds its inputs too."""
EAGER = tuple(
    name
    for name, precision in PRECISIONS.items()
    if precision.convert and name not in ("fp32", "tf32", "fp16", "int8_static")
)
"""Precisions that run eagerly on a CPU."""
ROUTES = [
    ("torch", "int8_static"),
    *((runtime.name, name) for runtime in RUNTIMES.values() for name in runtime.classifiers if runtime.name != "torch"),
]
"""Runtime and precision of what is exported. torch's graph is run as it is: compiling it takes seconds a network."""


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
    return judged(precision, found, expected, TOLERANCE[min(chosen.weight_bits, chosen.activation_bits)])


def judged(route: str, found: Tensor, expected: Tensor, tolerance: float) -> str:
    error = float((found - expected).norm() / expected.norm())
    return "right" if error <= tolerance else f"{route}: off by {error:.1%}"


def exported_outcome(seed: int, runtime: str, precision: str, folder: Path) -> str:
    """The same of one network in one runtime, whose files go to ``folder``."""
    images = torch.rand(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(seed))
    case = Case(
        experiment="inference",
        model=f"random{seed}",
        dataset="random",
        image_size=SIDE,
        device="cpu",
        threads=1,
        budget="smoke",
        runtime=runtime,
        precision=precision,
        mode="eager" if runtime == "torch" else "native",
        batch_size=IMAGES,
    )

    def calibration() -> Iterator[Tensor]:
        yield images

    if runtime != "torch" and why_not(runtime, precision, "native", "cpu"):
        return "unsupported"
    with torch.no_grad():
        expected = network(seed).eval()(images)
        try:
            order = Order(
                case=case,
                workspace=Workspace(results=folder, data_dir=folder),
                network=settled(seed),
                calibration=calibration,
                held_out=calibration,
                held_out_labels=lambda: expected.argmax(1).numpy(),
            )
            found = preparer_of(case)(order).run(images).clone()
        except Unsupported:
            return "unsupported"
    static = precision in ("int8_static", "int8_mixed")
    tolerance = STATIC_TOLERANCE if static else TOLERANCE[PRECISIONS[precision].weight_bits]
    return judged(f"{runtime} {precision}", found, expected, tolerance)


def main(seeds: int, first: int = 0) -> int:
    outcomes = Counter[str]()

    def count(seed: int, route: str, judge: Callable[[], str]) -> None:
        try:
            found = judge()
        except Exception as error:
            found = f"{route}: {type(error).__name__}: {str(error)[:150]}"
        outcomes[found if found in ("right", "unsupported") else "wrong"] += 1
        if found not in ("right", "unsupported"):
            print(f"seed {seed}: {found}", flush=True)

    for seed in range(first, first + seeds):
        for precision in EAGER:
            count(seed, precision, partial(outcome, seed, precision))
        for runtime, precision in ROUTES:
            with tempfile.TemporaryDirectory() as folder:
                route = f"{runtime} {precision}"
                count(seed, route, partial(exported_outcome, seed, runtime, precision, Path(folder)))
    print(f"{seeds} networks, {len(EAGER)} precisions and {len(ROUTES)} exported routes: {dict(outcomes)}")
    return 1 if outcomes["wrong"] else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(*map(int, sys.argv[1:])) if len(sys.argv) > 1 else main(200))
