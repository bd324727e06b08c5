"""How often does a comparison cry wolf, and how often does it see 10 %? Run on demand, for a quarter of an hour.

    python tests/check_noise.py --folder /tmp/noise [--repeats 100] [--sides 5,8,10,15,20,25,30]

Records a pool: three short cases, each in so many fresh processes, interleaved. From it pairs of runs are drawn, each
of them a block of consecutive processes of all three cases; the two blocks of a pair are disjoint and close in time, as
two runs after one another are. A pair as it is is an A/A pair: whatever is called worse or better is a false alarm. The
same pair with one case slowed by 10 % (its samples multiplied) has to be called worse in that case. Both go by the rule
of `nox -s compare`: processes that were disturbed, or ran in a slow phase of the machine, do not count. The pairs of
one pool share processes: the Wilson intervals, which take them as independent, are a little too narrow.

What follows is, for each case, the number of processes a side from which on detection reaches 95 % at no more than 1 %
of false alarms. That of the first case is then confirmed once: so many fresh processes a side, one side with a real
delay in each of its calls. Exit status 1 where it is not, or where a case has no such number.

The folder keeps the pool, repeat by repeat: a second call goes on where the first one ended. Give another folder to
another machine, budget or commit.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scipy.stats import binomtest  # noqa: E402

from bench.core.records import Case, Measurement, from_json, to_json  # noqa: E402
from bench.core.workspace import Workspace  # noqa: E402
from bench.plan.command_line import available_cores  # noqa: E402
from bench.report.compare.matching import Pair  # noqa: E402
from bench.report.compare.thresholds import PROCESSES, TIMES  # noqa: E402
from bench.report.compare.times import TimeChange, tested, too_few  # noqa: E402
from bench.report.disturbance import undisturbed  # noqa: E402
from bench.report.pace import Paces, paces_of  # noqa: E402
from bench.run.engine import Engine  # noqa: E402
from bench.run.journal import Journal  # noqa: E402
from bench.run.process import ProcessRunner  # noqa: E402

SHORT = (("cnn_small", 1), ("cnn_small", 32), ("cnn_vgg", 1))
"""Networks and batch sizes whose calls take milliseconds."""
SLOWER = 1.1
FALSE_ALARMS, DETECTION = 0.01, 0.95
"""The aim: at most, and at least."""
THRESHOLD = TIMES["inference"]["latency"]
DELAYED = """\
import time

from bench.measure.clock import now
from models import classifier


def network():
    built = classifier({model!r}).build()

    def wait(module, inputs, output):
        begin = now(output.device)
        while time.perf_counter() - begin < {seconds!r}:
            pass

    built.register_forward_hook(wait)
    return built
"""

Processes = Sequence[Measurement]
Pool = Mapping[str, Processes]
"""The processes of each case, in the order in which they ran: of each its median, and the readings of the device."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some processes of every case that follow one another."""

    processes: Mapping[str, Processes]

    def slowed(self, name: str) -> Block:
        slower = [replace(one, seconds=tuple(SLOWER * value for value in one.seconds)) for one in self.processes[name]]
        return Block(processes={**self.processes, name: slower})


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Of pairs with so many processes a side."""

    processes: int
    pairs: int
    alarms: int
    """Pairs of which any case was called anything."""
    detected: Mapping[str, int]
    """By the case that was slowed."""

    def reaches(self, name: str) -> bool:
        return self.alarms <= FALSE_ALARMS * self.pairs and self.detected[name] >= DETECTION * self.pairs

    def words(self) -> str:
        seen = ", ".join(f"{name} {_with_interval(count, self.pairs)}" for name, count in self.detected.items())
        alarms = _with_interval(self.alarms, self.pairs)
        return f"{self.processes:3d} a side, {self.pairs} pairs: false alarms {alarms}; {SLOWER - 1:.0%} seen in {seen}"


def verdicts(old: Block, new: Block) -> dict[str, str]:
    """Cases that `compare` would call worse or better, with what it says of them."""
    names = list(old.processes)
    paces = paces_of(one for block in (old, new) for some in block.processes.values() for one in some)
    changes = [_change(old.processes[name], new.processes[name], paces) for name in names]
    return {name: change.shown for name, change in zip(names, tested(changes), strict=True) if change.shown}


def _change(old: Processes, new: Processes, paces: Paces) -> TimeChange:
    counted = [
        tuple(statistics.median(one.seconds) for one in side if undisturbed(one, available_cores(), paces))
        for side in (old, new)
    ]
    disturbed = len(old) - len(counted[0]), len(new) - len(counted[1])
    return TimeChange(
        pair=Pair(old=None, new=None),
        metric="latency",
        threshold=THRESHOLD,
        old=counted[0],
        new=counted[1],
        disturbed=disturbed,
        obstacle=too_few(counted[0], counted[1], disturbed),
    )


def pairs_of(pool: Pool, processes: int, count: int) -> list[tuple[Block, Block]]:
    """Distinct pairs of disjoint blocks, at most a block's length between them, the later one first in every other."""
    length = min(map(len, pool.values()))
    places = [
        (begin, begin + processes + gap)
        for gap in range(processes + 1)
        for begin in range(length - 2 * processes - gap + 1)
    ]
    places = [pair for place in places for pair in (place, place[::-1])]
    drawn = random.Random(processes).sample(places, min(count, len(places)))
    return [(_block(pool, one, processes), _block(pool, other, processes)) for one, other in drawn]


def rates(pool: Pool, processes: int, count: int) -> Rates:
    """Each pair as it is, and again with each of its cases slowed."""
    pairs = pairs_of(pool, processes, count)
    alarms = sum(bool(verdicts(old, new)) for old, new in pairs)
    detected = {name: sum(verdicts(old, new.slowed(name)).get(name) == "worse" for old, new in pairs) for name in pool}
    return Rates(processes=processes, pairs=len(pairs), alarms=alarms, detected=detected)


def record(
    measured: Callable[[Case], Measurement], file: Path, repeats: int, budget: str
) -> dict[str, list[Measurement]]:
    """The pool: one process of each case after the other, and again, until ``file`` holds so many of each."""
    pool: dict[str, list[Measurement]] = {f"{model} b{size}": [] for model, size in SHORT}
    if file.is_file():
        stored = json.loads(file.read_text())
        pool = {name: [from_json(Measurement, one) for one in some] for name, some in stored.items()}
    for repeat in range(min(map(len, pool.values())), repeats):
        cases = [case_of(model, size, budget, repeat) for model, size in SHORT]
        for processes, case in zip(pool.values(), cases, strict=True):
            processes.append(measured(case))
        whole = file.with_suffix(".tmp")  # a kill must not leave half a pool
        whole.write_text(json.dumps({name: list(map(to_json, some)) for name, some in pool.items()}))
        whole.replace(file)
        print(f"\rpool: {repeat + 1} of {repeats} repeats", end="", file=sys.stderr, flush=True)
    return pool


def confirm(engine: Engine, pool: Pool, processes: int, budget: str, folder: Path) -> bool:
    """Whether a delay of a tenth of a call, in the first case, is called worse, and nothing else is called anything."""
    model, _ = SHORT[0]
    delay = (SLOWER - 1) * _usual(next(iter(pool.values())))
    file = folder / "delayed.py"
    file.write_text(DELAYED.format(model=model, seconds=delay))
    sides: list[dict[str, list[Measurement]]] = [{name: [] for name in pool} for _ in range(2)]
    first = 1 + max(map(len, pool.values()))
    for repeat in range(first, first + processes):
        for side, delayed in zip(sides, (model, f"{file}:network"), strict=True):
            for index, (name, (other, batch)) in enumerate(zip(pool, SHORT, strict=True)):
                case = case_of(other if index else delayed, batch, budget, 2 * repeat + (side is sides[1]))
                side[name].append(measured_by(engine, case))
    found = verdicts(Block(processes=sides[0]), Block(processes=sides[1]))
    print(f"a real delay of {1e6 * delay:.0f} us in {next(iter(pool))}, {processes} a side: {found or 'nothing seen'}")
    return found == {next(iter(pool)): "worse"}


def case_of(model: str, batch_size: int, budget: str, repeat: int) -> Case:
    return Case(
        experiment="noise",
        model=model,
        dataset="random",
        image_size=32,
        device="cpu",
        threads=available_cores(),
        budget=budget,
        batch_size=batch_size,
        repeat=repeat,
    )


def measured_by(engine: Engine, case: Case) -> Measurement:
    """Of its samples the median alone, so that a pool of hundreds is a small file."""
    outcome = engine.run(case)
    if not isinstance(outcome, Measurement):
        raise SystemExit(f"{case.model}: {outcome.kind}: {outcome.message}")
    return replace(outcome, seconds=(statistics.median(outcome.seconds),), series={})


def _usual(processes: Processes) -> float:
    return statistics.median(one.seconds[0] for one in processes)


def _block(pool: Pool, begin: int, processes: int) -> Block:
    return Block(processes={name: some[begin : begin + processes] for name, some in pool.items()})


def _with_interval(count: int, of: int) -> str:
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count / of:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the pool and the logs of its processes lie")
    parser.add_argument("--repeats", type=int, default=100, help="processes of each case")
    parser.add_argument("--pairs", type=int, default=1000, help="pairs drawn for each number of processes")
    parser.add_argument("--sides", default="5,8,10,15,20,25,30", help="numbers of processes a side")
    parser.add_argument("--budget", default="quick", help="whose sampling of noise each process has")
    given = parser.parse_args()
    sides = [int(side) for side in given.sides.split(",")]
    if not PROCESSES <= min(sides) <= max(sides) <= given.repeats // 2:
        parser.error(f"--sides: give numbers from {PROCESSES}, below which compare tells nothing, to half of --repeats")
    given.folder.mkdir(parents=True, exist_ok=True)
    engine = Engine(
        runner=ProcessRunner(),
        workspace=Workspace(results=given.folder, data_dir=given.folder),
        journal=Journal(given.folder / "journal.jsonl"),
        case_timeout=lambda case: 300.0,
        progress=lambda line: None,
    )
    pool = record(partial(measured_by, engine), given.folder / "pool.json", given.repeats, given.budget)
    print(f"\npool: {', '.join(f'{name} {1e3 * _usual(some):.3f} ms' for name, some in pool.items())}")
    found = [rates(pool, processes, given.pairs) for processes in sides]
    print("\n".join(each.words() for each in found))
    enough = {name: next((each.processes for each in found if each.reaches(name)), None) for name in pool}
    for name, processes in enough.items():
        print(f"{name}: {'no number of them is' if processes is None else f'{processes} processes a side are'} enough")
    first = next(iter(enough.values()))
    confirmed = first is not None and confirm(engine, pool, first, given.budget, given.folder)
    return 0 if confirmed and None not in enough.values() else 1


if __name__ == "__main__":
    sys.exit(main())
