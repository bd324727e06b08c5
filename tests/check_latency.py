"""Do our latencies agree with ``torch.utils.benchmark``? Run on demand, on a quiet machine; exit status 1 above 5 %.

    python tests/check_latency.py [--models resnet18_cifar,cnn_small] [--batch-size 8] [--rounds 9]

Both time the same network, batch and threads in one process, alternately, round by round; medians of the rounds are
compared. It is no test, since a busy machine would fail it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch.utils import benchmark  # noqa: E402

import models  # noqa: E402
from bench.core.budgets import Sampling  # noqa: E402
from bench.core.other_work import usable_cores  # noqa: E402
from bench.measure import clock, machine  # noqa: E402

TOLERANCE = 0.05
SECONDS = 1.0
"""What each of the two takes of a round."""
RULE = Sampling(min_samples=2, min_seconds=SECONDS, relative_error=1.0, max_seconds=SECONDS)


def compare(model: str, batch_size: int, rounds: int, device: torch.device) -> tuple[float, float]:
    """Median seconds of one call: ours, and torch.utils.benchmark's."""
    spec = models.classifier(model)
    network = spec.build().eval().to(device)
    images = torch.randn(batch_size, 3, spec.image_size, spec.image_size, device=device)
    ours, theirs = [], []
    with torch.inference_mode():
        timer = benchmark.Timer(
            "network(images)", globals={"network": network, "images": images}, num_threads=torch.get_num_threads()
        )
        clock.warm_up(lambda: network(images), device)
        for _ in range(rounds):
            taken = clock.latencies(lambda: network(images), device, RULE, lambda: None)
            # torch's timer gives the mean of a block of calls: the mean of ours is the same quantity, their median not.
            ours.append(statistics.fmean(taken.seconds))
            theirs.append(timer.blocked_autorange(min_run_time=SECONDS).mean)
    return statistics.median(ours), statistics.median(theirs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="cnn_small,resnet14_cifar,resnet18_cifar")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=usable_cores())
    given = parser.parse_args()
    machine.set_flags(threads=given.threads, device=given.device)
    agreed = True
    for model in given.models.split(","):
        ours, theirs = compare(model, given.batch_size, given.rounds, torch.device(given.device))
        ratio = ours / theirs
        agreed &= abs(ratio - 1) <= TOLERANCE
        print(f"{model}, batch {given.batch_size}: {ours * 1e3:.3f} ms, torch says {theirs * 1e3:.3f} ms: {ratio:.3f}")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
