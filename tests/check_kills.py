"""Does a run survive being killed at random moments? Run on demand, some ten minutes; exit status 1 if it does not.

    python tests/check_kills.py [--kills 20] [--others 5] [--seed 7] [--models cnn_small]

One smoke run is killed with ``kill -9`` and resumed as often as asked; three more have their workers killed, their fork
server killed, and are interrupted (Ctrl-C). Looked at after each: that no process is left, that at most one case was
under way; and in the end: that every case stands in the JSON exactly once, with the samples that the journal first had
of it, so that nothing finished was measured again. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.core.records import Measurement  # noqa: E402
from bench.run.journal import Entry, Journal  # noqa: E402
from tests.processes import children, fork_server, marked, wait_for  # noqa: E402

MARK = "HALFBYTE_CHECK_KILLS"
ORPHAN_SECONDS = 30.0
"""A fork server that is importing torch notices only afterwards that its pytest is gone."""
SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT}
"""Blows to the whole run."""
CASES = ("bench/test_training.py", "bench/test_inference.py")
OPTIONS = (
    *("-q", "-p", "no:cacheprovider"),
    *("--budget", "smoke", "--device", "cpu", "--dataset", "mnist5k", "--modes", "eager"),
)


@dataclass(kw_only=True)
class Scenario:
    """One results folder, what is done to its runs, and what was seen."""

    name: str
    folder: Path
    options: Sequence[str]
    chance: random.Random
    under_way: list[int] = field(default_factory=list)
    """Cases that were started and not finished, at each blow."""
    problems: list[str] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        result = str(self.folder / "results" / "run.json")
        data = str(self.folder.parent / "data")
        own = ["--benchmark-json", result, "--benchmark-quiet", "--resume", "--data-dir", data]
        return [sys.executable, "-m", "pytest", *CASES, *OPTIONS, *self.options, *own]

    @property
    def mark(self) -> str:
        return f"{MARK}={self.folder}"

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**os.environ, MARK: str(self.folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def entries(self) -> tuple[Entry, ...]:
        return Journal(self.folder / "results" / "journal.jsonl").read().entries

    def runs(self) -> int:
        return len(Journal(self.folder / "results" / "journal.jsonl").read().starts)

    def look(self, begun: float) -> None:
        """After a blow to the whole run: how many cases were under way, and whether processes are left."""
        finished = {entry.outcome.case.id for entry in self.entries()}
        logs = (self.folder / "results" / "logs").glob("[0-9a-f]" * 16 + ".log")
        self.under_way.append(sum(log.stat().st_mtime >= begun and log.stem not in finished for log in logs))
        try:
            wait_for(lambda: not marked(self.mark), ORPHAN_SECONDS)
        except AssertionError:
            self.problems.append(f"processes left: {marked(self.mark)}")

    def to_its_end(self) -> None:
        """The last run, left alone; more than once where a case that was hit has to be tried again."""
        for _ in range(2):
            if self.start().wait() == 0:
                return
        self.problems.append("the last run did not end with status 0")

    def judge(self) -> None:
        """Every case once in the JSON, as it was measured first."""
        collected = subprocess.run([*self.command, "--collect-only"], cwd=ROOT, capture_output=True, text=True).stdout
        expected = sorted(line for line in collected.splitlines() if "::" in line)
        rows = json.loads((self.folder / "results" / "run.json").read_text())["benchmarks"]
        if sorted(row["fullname"] for row in rows) != expected:
            self.problems.append(f"{len(rows)} rows, while {len(expected)} cases were collected")
        measured = [entry.outcome for entry in self.entries() if isinstance(entry.outcome, Measurement)]
        again = [case for case, count in Counter(outcome.case.id for outcome in measured).items() if count > 1]
        if again:
            self.problems.append(f"{len(again)} finished cases were measured again")
        first = {outcome.case.id: list(outcome.seconds) for outcome in reversed(measured)}
        stored = [row["extra_info"]["seconds"] for row in rows]
        if sorted(stored) != sorted(first.values()):
            self.problems.append("the JSON holds other samples than the journal")
        if max(self.under_way, default=0) > 1:
            self.problems.append(f"{max(self.under_way)} cases under way at once")

    def moment(self, process: subprocess.Popen[bytes]) -> None:
        """Wait: in one of four cases for some seconds from the start, else until the run measures, and then some."""
        if self.chance.random() < 0.25:
            time.sleep(self.chance.uniform(0, 10))
            return
        before = self.runs()
        wait_for(lambda: self.runs() > before or process.poll() is not None)
        time.sleep(self.chance.uniform(0, 6))


def whole_runs(scenario: Scenario, blows: int, number: signal.Signals) -> None:
    """Send ``number`` to pytest, and resume, again and again."""
    for _ in range(blows):
        begun = time.time()
        process = scenario.start()
        scenario.moment(process)
        process.send_signal(number)
        process.wait()
        scenario.look(begun)


def parts(scenario: Scenario, blows: int, part: str) -> None:
    """Kill a worker, or the fork server, in a run that goes on."""
    process = scenario.start()
    wait_for(lambda: scenario.runs() or process.poll() is not None)
    while blows and process.poll() is None:
        time.sleep(scenario.chance.uniform(0.5, 6))
        server = fork_server(process.pid)
        there = [server] if server else []
        struck = there if part == "fork server" else [pid for each in there for pid in children(each)]
        blows -= sum(killed(pid) for pid in struck[:blows])
    process.wait()
    if blows:
        scenario.problems.append(f"the run ended {blows} blows too soon: give it more --repeats")
    scenario.look(time.time())


def killed(pid: int) -> bool:
    """Whether ``pid`` was still there to be killed: a worker may have ended since /proc was read."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def report(scenario: Scenario, blows: int) -> bool:
    scenario.to_its_end()
    scenario.judge()
    failed = sum(not isinstance(entry.outcome, Measurement) for entry in scenario.entries())
    print(
        f"{scenario.name}: {blows} times; {len({entry.outcome.case.id for entry in scenario.entries()})} cases, "
        f"{sum(scenario.under_way)} under way when the run was hit, {failed} failed and were tried again; "
        f"{'; '.join(scenario.problems) or 'each case once, nothing finished lost, no process left'}",
        flush=True,
    )
    return not scenario.problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--others", type=int, default=5, help="how often each of the other blows falls")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--models", default="cnn_small")
    parser.add_argument("--precisions", default="fp32,int8_weights,nf4_weights")
    parser.add_argument("--repeats", type=int, default=6)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    options = ["--models", given.models, "--precisions", given.precisions, "--repeats", str(given.repeats)]
    sound = True
    with tempfile.TemporaryDirectory() as folder:
        for name in ("kill -9", "Ctrl-C", "worker", "fork server"):
            chance = random.Random(f"{given.seed} {name}")
            scenario = Scenario(name=name, folder=Path(folder) / name.replace(" ", "-"), options=options, chance=chance)
            blows = given.kills if name == "kill -9" else given.others
            if name in SIGNALS:
                whole_runs(scenario, blows, SIGNALS[name])
            else:
                parts(scenario, blows, name)
            sound &= report(scenario, blows)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
