"""How good are the ratios of turns? Run on demand, for a quarter of an hour on two cores.

    python tests/check_turns.py --folder /tmp/turns [--sets 60] [--model resnet14_cifar] [--batch-size 8]

Measures three routes in so many sets of fresh processes: the reference, the same once more (A/A), and the same with
5 % more work after each call. Then all of it again, beside a neighbour that burns one core in bursts of 2 to 12 s.
The ratios of all sets are kept in pools.json of the folder; --pools FILE gives the rates of such a file alone.
A trial takes 3, 6 or 12 sets of the pool together, drawn at random, as a run would have them. Its common spread, which
a run has from its other rows, comes from sets that were not drawn. A call: the interval excludes 1, and the ratio is
more than 1 % away from it.

Trials share sets, so a rate over them is a U-statistic, whose variance is at most that over disjoint blocks (Hoeffding
1948). The Wilson intervals therefore count as many trials as there are disjoint blocks in the pool.
Exit status 1 where more than 5 % of A/A ratios are 2 % away from 1, or more than 2 % are called.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.core.budgets import BUDGETS  # noqa: E402
from bench.core.other_work import usable_cores  # noqa: E402
from bench.core.records import Case, Measurement  # noqa: E402
from bench.core.workspace import Workspace  # noqa: E402
from bench.report.turns import Common, PairedRatio, common_spread, paired_ratio  # noqa: E402
from bench.run.engine import Engine  # noqa: E402
from bench.run.journal import Journal  # noqa: E402
from bench.run.process import ProcessRunner, Worker  # noqa: E402
from bench.run.turns import SetPlan  # noqa: E402

DELAY = 0.05
FAR, NEAR = 0.01, 0.02
"""Beyond the first a ratio may be called; within the second an A/A ratio is good."""
TOGETHER = (3, 6, 12)
DRAWS = 400
"""Most trials that a rate is over."""
BUDGET = BUDGETS["quick"]
TWIN, DELAYED = True, "delayed"
NETWORK = """\
import time

from models import classifier


def network():
    return delaying(0.0)


def delayed():
    return delaying({delay!r})


def delaying(share):
    built = classifier({model!r}).build()
    begin = 0.0

    def start(module, inputs):
        nonlocal begin
        begin = time.perf_counter()

    def wait(module, inputs, output):
        end = time.perf_counter() + share * (time.perf_counter() - begin)
        while time.perf_counter() < end:
            pass

    built.register_forward_pre_hook(start)
    built.register_forward_hook(wait)
    return built
"""
"""All have the hooks, so that the delay is all that sets them apart."""
NEIGHBOUR = """\
import os, random, sys, time
begun_by = int(sys.argv[1])
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
os.close(1)

def wanted():
    try:
        os.kill(begun_by, 0)
    except OSError:
        return False
    return True

drawn = random.Random(7)
while wanted():
    end = time.monotonic() + drawn.uniform(2, 12)
    while time.monotonic() < end and wanted():
        sum(range(10000))
    time.sleep(drawn.uniform(2, 12))
"""

OTHERS = 12
"""Most other rows of a trial, of each route."""
Pool = list[float]
"""Ratio of each set."""


@dataclass(frozen=True, kw_only=True)
class Disguised(Worker):
    """A worker that runs another network than its case says, and replies as if it did not."""

    case: dict[str, Any]

    def receive(self, time_limit: float) -> tuple[str, dict[str, Any]]:
        kind, content = super().receive(time_limit)
        if "answer" in content:
            content["answer"]["case"] = self.case
        return kind, content


class Delaying(ProcessRunner):
    """Starts the worker of the delayed route on the delayed network: to its set it is a twin."""

    def open(self, request: dict[str, Any], progress: Any) -> Worker:
        case = request.get("case", {})
        if ["twin", DELAYED] not in case.get("options", []):
            return super().open(request, progress)
        worker = super().open(
            {**request, "case": {**case, "model": case["model"].replace(":network", ":delayed")}}, progress
        )
        return Disguised(**vars(worker), case=case)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Ratios of blocks of sets, of the route that is the same and of the one that is delayed."""

    same: Sequence[PairedRatio]
    delayed: Sequence[PairedRatio]
    blocks: float
    """Disjoint blocks of sets in the pool: so many trials are independent."""

    @property
    def near(self) -> int:
        return sum(abs(ratio.value - 1) <= NEAR for ratio in self.same)

    @property
    def called(self) -> int:
        return sum(map(call, self.same))

    @property
    def seen(self) -> int:
        return sum(call(ratio) and ratio.value < 1 for ratio in self.delayed)

    @property
    def covered(self) -> int:
        return sum(holds(ratio, 1.0) for ratio in self.same) + sum(holds(one, 1 / (1 + DELAY)) for one in self.delayed)

    @property
    def good(self) -> bool:
        return self.near >= 0.95 * len(self.same) and self.called <= max(0.02 * len(self.same), 0)


def call(ratio: PairedRatio) -> bool:
    """Whether a ratio is called faster or slower."""
    return not holds(ratio, 1.0) and abs(ratio.value - 1) > FAR


def holds(ratio: PairedRatio, truth: float) -> bool:
    return ratio.interval is None or ratio.interval.low <= truth <= ratio.interval.high


def trials(same: Pool, delayed: Pool, together: int) -> Trials:
    """Trials of ``together`` sets: all that there are, or ``DRAWS`` of them at random."""
    pool, chance = range(len(same)), random.Random(together)
    if math.comb(len(same), together) <= DRAWS:
        drawn = list(itertools.combinations(pool, together))
    else:
        drawn = [tuple(chance.sample(pool, together)) for _ in range(DRAWS)]
    found: tuple[list[PairedRatio], list[PairedRatio]] = ([], [])
    for places in drawn:
        left = [place for place in pool if place not in places]
        chance.shuffle(left)
        common = _common([same, delayed], left, together)
        for trial, ratios in zip(found, (same, delayed), strict=True):
            trial.append(_row(ratios, places, common))
    return Trials(same=found[0], delayed=found[1], blocks=len(same) / together)


def _common(pools: Sequence[Pool], left: Sequence[int], together: int) -> Common | None:
    blocks = [left[start : start + together] for start in range(0, len(left) - together + 1, together)][:OTHERS]
    return common_spread(_row(pool, places, None) for pool in pools for places in blocks)


def _row(pool: Pool, places: Sequence[int], common: Common | None) -> PairedRatio:
    return PairedRatio(by_set=tuple(pool[place] for place in places), rounds=0, common=common)


def words(name: str, together: int, found: Trials) -> str:
    count = len(found.same)
    errors = [abs(ratio.value - 1) for ratio in found.same]
    blocks = found.blocks
    return (
        f"{name}, {together} sets, {count} trials ({blocks:.3g} disjoint): A/A within {NEAR:.0%} "
        f"{share(found.near / count, blocks)}, "
        f"root mean square {statistics.fmean(error**2 for error in errors) ** 0.5:.2%}, worst {max(errors):.2%}; "
        f"called {share(found.called / count, blocks)}; {DELAY:.0%} delay called {share(found.seen / count, blocks)}; "
        f"intervals that cover {share(found.covered / (2 * count), blocks)}"
    )


def share(rate: float, trials: float) -> str:
    """``rate`` of independent ``trials``, with its Wilson interval of 95 %."""
    square = 1.96**2 / trials
    middle = (rate + square / 2) / (1 + square)
    half = math.sqrt(square * (rate * (1 - rate) + square / 4)) / (1 + square)
    return f"{rate:.1%} ({max(middle - half, 0):.0%} to {min(middle + half, 1):.0%})"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, on how many threads."""

    engine: Engine
    model: str
    batch_size: int
    threads: int


def measure(subject: Subject, sets: int, number: int) -> list[Measurement]:
    """The reference, its twin and the delayed route, in so many sets; each with the turns that `quick` gives a set."""
    begin = time.monotonic()
    rule = BUDGET.sampling
    options = {
        "max_seconds": rule.max_seconds / BUDGET.sets * sets,
        "min_samples": -(-rule.min_samples // BUDGET.sets) * sets,
    }
    cases = [
        Case(
            experiment="inference",
            model=subject.model,
            dataset="mnist5k",
            image_size=32,
            device="cpu",
            threads=subject.threads,
            budget=BUDGET.name,
            batch_size=subject.batch_size,
            repeat=number,
            options=tuple(sorted({**options, **({"twin": twin} if twin else {})}.items())),
        )
        for twin in (None, TWIN, DELAYED)
    ]
    subject.engine.sets = SetPlan(asked=[(case, None) for case in cases], count=sets)
    found = []
    for case in cases:
        outcome = subject.engine.run(case)
        if not isinstance(outcome, Measurement):
            raise SystemExit(f"{case.model}: {outcome.kind}: {outcome.message}")
        found.append(outcome)
    seconds = time.monotonic() - begin
    print(f"\n{sets} sets: {seconds:.0f} s, {seconds / sets:.1f} s a set", flush=True)
    return found


def report(name: str, same: Pool, delayed: Pool) -> bool:
    """Print the rates of one half. Returns whether all are good."""
    found = {together: trials(same, delayed, together) for together in TOGETHER if together <= len(same)}
    for together, each in found.items():
        print(words(name, together, each), flush=True)
    return all(each.good for each in found.values())


def pool(measured: Measurement) -> Pool:
    found = paired_ratio(measured)
    return list(found.by_set) if found else []


@contextmanager
def neighbour() -> Iterator[None]:
    """A process that burns one core in bursts. It is no descendant of this one: the suite's own work is no other."""
    command = [sys.executable, "-c", NEIGHBOUR, str(os.getpid())]
    pid = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)


def keep(folder: Path, pools: dict[str, list[Pool]]) -> None:
    (folder / "pools.json").write_text(json.dumps(pools))


def prepared(folder: Path) -> Engine:
    engine = Engine(
        runner=Delaying(),
        workspace=Workspace(results=folder, data_dir=folder),
        journal=Journal(folder / "journal.jsonl"),
        case_timeout=lambda case: 300.0,
        progress=lambda line: print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True),
    )
    engine.survey("cpu", usable_cores())
    first = Case(
        experiment="inference",
        model="cnn_small",
        dataset="mnist5k",
        image_size=32,
        device="cpu",
        threads=1,
        budget=BUDGET.name,
    )
    engine.prepare(first, [])
    return engine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="where logs lie (default: a temporary one)")
    parser.add_argument("--sets", type=int, default=60, help="sets of each half")
    parser.add_argument("--model", default="resnet14_cifar")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--pools", type=Path, default=None, help="a pools.json of before: nothing is measured")
    given = parser.parse_args()
    if given.pools:
        kept = json.loads(given.pools.read_text())
        halves = [report(name, *ratios) for name, ratios in kept.items()]
        return 0 if all(halves) else 1
    if given.sets < min(TOGETHER):
        parser.error(f"--sets {given.sets} is below {min(TOGETHER)}: give that many or more")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "networks.py"
        file.write_text(NETWORK.format(model=given.model, delay=DELAY))
        engine = prepared(folder)
        subject = Subject(engine=engine, model=f"{file}:network", batch_size=given.batch_size, threads=given.threads)
        print(f"{given.model}, batch {given.batch_size}, {given.threads} threads")
        pools = {"quiet": [pool(one) for one in measure(subject, given.sets, 1)[1:]]}
        keep(folder, pools)
        good = report("quiet", *pools["quiet"])
        with neighbour():
            pools["beside a neighbour"] = [pool(one) for one in measure(subject, given.sets, 2)[1:]]
        good &= report("beside a neighbour", *pools["beside a neighbour"])
        keep(folder, pools)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
