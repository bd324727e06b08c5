"""Cases on a cluster of two nodes on this machine, made by `ray.cluster_utils.Cluster`. Linux only.

``python tests/check_cluster.py [--kill] [--overhead] [arguments of pytest]`` runs pytest on it. With ``--kill`` one
node is killed by SIGKILL while a case runs there. ``--overhead`` compares a request through Ray with one without.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.core.records import Case, to_json  # noqa: E402
from bench.core.workspace import Workspace  # noqa: E402
from bench.run import worker  # noqa: E402
from bench.run.cluster import ClusterRunner  # noqa: E402
from bench.run.journal import Journal  # noqa: E402
from bench.run.node import PREFIX  # noqa: E402
from bench.run.nodes import LOCAL, SETTINGS  # noqa: E402
from bench.run.process import ProcessRunner  # noqa: E402
from tests.processes import descendants  # noqa: E402

CASE_LOG = "results/logs/" + "[0-9a-f]" * 16 + ".log"
NODES = 2
OVERHEAD_ROUNDS = 7


@contextmanager
def cluster() -> Iterator[Any]:
    """A head that takes no case, and two nodes of one core."""
    with tempfile.TemporaryDirectory(prefix="hb-ray-") as folder:
        os.environ.update({**SETTINGS, "RAY_TMPDIR": folder})
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(NODES):
                made.add_node(num_cpus=1)
            made.wait_for_nodes()
            yield made
        finally:
            made.shutdown()


def raylets(made: Any) -> list[int]:
    """Process of each node that takes cases."""
    return [node.all_processes["raylet"][0].process.pid for node in made.worker_nodes]


def busy_node(made: Any, journal: Path) -> int | None:
    """Process of a node on which a case runs now, by its log; None if there is none."""
    done = {entry.outcome.case.id for entry in Journal(journal).read().entries} if journal.exists() else set()
    families = {pid: descendants(pid) for pid in raylets(made)}
    for log in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{CASE_LOG}"):
        actor = int(log.parents[2].name.removeprefix(PREFIX).split("-")[0])
        recent = time.time() - log.stat().st_mtime < 1.0
        for raylet, family in families.items():
            if actor in family and log.stem not in done and recent:
                return raylet
    return None


def kill_one(made: Any, journal: Path, process: subprocess.Popen[bytes]) -> bool:
    """Kill everything of a node that is at work. Returns False if none was before the run ended."""
    while process.poll() is None:
        struck = busy_node(made, journal)
        if struck is not None:
            for pid in (struck, *descendants(struck)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return True
        time.sleep(0.05)
    return False


def run(arguments: Sequence[str], *, kill: bool, journal: Path) -> int:
    """Exit status of pytest on the cluster."""
    with cluster() as made:
        command = [sys.executable, "-m", "pytest", *arguments, "--cluster", made.address, "--threads", "1"]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            if kill and not kill_one(made, journal, process):
                print("no node was at work: nothing was killed", flush=True)
                return 1
            return process.wait()
        finally:
            process.kill()
            process.wait()


def overhead() -> float:
    """Seconds that a request takes longer through a local cluster than through the fork server: difference of medians.

    The request is a case that nothing is trained at: it ends as soon as its process has begun with it.
    """
    case = Case(
        experiment="training",
        model="cnn_small",
        dataset="mnist5k",
        image_size=32,
        device="cpu",
        threads=1,
        budget="smoke",
        precision="nf4",
    )
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        space = Workspace(results=results, data_dir=results / "data")
        request = {
            "action": "run",
            "time_limit": 60.0,
            "log": str(results / "logs" / f"{case.id}.log"),
            "workspace": worker.paths_of(space),
            "case": to_json(case),
        }
        near = ProcessRunner()
        far = ClusterRunner(LOCAL, results, "cpu", language=False)
        near.start()
        far.start()
        try:
            seconds: dict[str, list[float]] = {"near": [], "far": []}
            for number in range(OVERHEAD_ROUNDS + 1):
                for name, runner in (("near", near), ("far", far)):
                    begin = time.monotonic()
                    runner.perform(request, lambda line: None)  # type: ignore[attr-defined]
                    if number:  # the first ones wait for their fork servers
                        seconds[name].append(time.monotonic() - begin)
        finally:
            far.stop()
    print({name: [round(second, 3) for second in values] for name, values in seconds.items()}, flush=True)
    return statistics.median(seconds["far"]) - statistics.median(seconds["near"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill", action="store_true", help="kill a node while a case runs there")
    parser.add_argument("--overhead", action="store_true", help="measure what Ray adds to a request")
    parser.add_argument("--journal", type=Path, default=ROOT / "results" / "journal.jsonl")
    given, arguments = parser.parse_known_args()
    if given.overhead:
        print(f"overhead: {overhead():.3f} s a request", flush=True)
        return 0
    return run(arguments, kill=given.kill, journal=given.journal)


if __name__ == "__main__":
    sys.exit(main())
