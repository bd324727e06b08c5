"""Is the report of a large run fast and small? Run on demand, on a quiet machine; exit status 1 beyond the limits.

    python tests/check_report_speed.py [--rows 10000] [--samples 30]

Rows are made up: half of inference, the rest of language models and layers. It is no test, since a busy machine would
fail it. POSIX only: the peak is what the kernel counted for a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.bench.report.conftest import Maker  # noqa: E402

SECONDS = 10.0
BYTES = 500e6
PRECISIONS = ("fp32", "bf16", "int8_static", "int8_weights", "nf4_weights", "int8_bnb", "nf4", "fp4")
MODES = ("eager", "compiled")
SIZES = (1, 8, 32, 128)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        path.write_text(json.dumps(run(given.rows, given.samples)), encoding="utf-8")
        started = time.perf_counter()
        command = [sys.executable, "-m", "bench.report", "render", str(path), "--out", str(Path(folder) / "out")]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": "."})
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    computed = f"{used.ru_utime + used.ru_stime:.1f} s of them on a CPU"
    print(f"{given.rows} rows of {given.samples} samples: {seconds:.1f} s ({computed}), {peak / 1e6:.0f} MB")
    return 0 if seconds <= SECONDS and peak <= BYTES else 1


def run(rows: int, samples: int) -> dict[str, Any]:
    """A file of so many rows, the same each time."""
    make, chance = Maker(), random.Random(0)
    outcomes = []
    for index in range(rows):
        taken = [chance.uniform(0.001, 0.0012) * (1 + index % 7) for _ in range(samples)]
        place = index // (len(PRECISIONS) * len(MODES) * len(SIZES))
        precision, mode = PRECISIONS[index % 8], MODES[index // 8 % 2]
        facts = {"precision": precision, "mode": mode, "batch_size": SIZES[index // 16 % 4]}
        if place % 4 < 2:
            accuracy = 0.5 + 0.4 * (place % 9) / 9
            outcomes.append(
                make.inference(taken, accuracy, model=f"network_{place}", weight_bytes=10**6 + index, **facts)
            )
        elif place % 4 == 2:
            outcomes.append(make.decode(seconds=taken, model=f"language_{place}", **facts))
        else:
            outcomes.append(make.layer(seconds=taken, width=2 ** (place % 12 + 4), seed=place, **facts))
    return make.content(outcomes)


if __name__ == "__main__":
    sys.exit(main())
