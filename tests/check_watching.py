"""Does what watches a timed pass disturb it? Run on demand, on a quiet machine; exit status 1 where it does.

    python tests/check_watching.py [--models cnn_small] [--batch-size 8] [--pairs 40]

Each pair times the same network in one process with and without the sampler that reads clocks, throttling and other
processes between samples, which of them first in turn. The ratio of the two medians has an interval of 95 % over the
pairs: it has to contain 1 and stay below 1.03. It is no test, since a busy machine would fail it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import models  # noqa: E402
from bench.core.budgets import Sampling  # noqa: E402
from bench.core.other_work import usable_cores  # noqa: E402
from bench.measure import clock, machine  # noqa: E402
from bench.measure.state import Watch  # noqa: E402
from bench.report.statistics import quantile_interval  # noqa: E402

MOST = 1.03


def nothing() -> None:
    """Nobody watches."""


def ratios(step: Callable[[], object], device: torch.device, pairs: int, rule: Sampling) -> list[float]:
    """Of each pair the median sample with the sampler over that without."""
    found = []
    for pair in range(pairs):
        taken = {}
        for watched in (pair % 2 == 0, pair % 2 == 1):
            between = Watch(device) if watched else nothing
            taken[watched] = statistics.median(clock.latencies(step, device, rule, between).seconds)
        found.append(taken[True] / taken[False])
    return found


def check(model: str, batch_size: int, pairs: int, device: torch.device, rule: Sampling) -> bool:
    """Whether the interval of the ratio contains 1 and stays below ``MOST``. Prints it."""
    spec = models.classifier(model)
    network = spec.build().eval().to(device)
    images = torch.randn(batch_size, 3, spec.image_size, spec.image_size, device=device)
    with torch.inference_mode():
        clock.warm_up(lambda: network(images), device)
        found = ratios(lambda: network(images), device, pairs, rule)
    interval = quantile_interval(found)
    if interval is None:
        raise SystemExit(f"--pairs {pairs} are too few for an interval; give 6 or more")
    print(
        f"{model}, batch {batch_size}, {pairs} pairs: with over without the sampler {statistics.median(found):.4f} "
        f"({interval.low:.4f} to {interval.high:.4f})"
    )
    return interval.low <= 1 <= interval.high < MOST


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="cnn_small,resnet14_cifar")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each of the two of a pair")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=usable_cores())
    given = parser.parse_args()
    machine.set_flags(threads=given.threads, device=given.device)
    rule = Sampling(min_samples=2, min_seconds=given.seconds, relative_error=1.0, max_seconds=given.seconds)
    device = torch.device(given.device)
    checked = [check(model, given.batch_size, given.pairs, device, rule) for model in given.models.split(",")]
    return 0 if all(checked) else 1


if __name__ == "__main__":
    sys.exit(main())
