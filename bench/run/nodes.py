"""Nodes of a Ray cluster, and the requests that wait for a free one. Each node is claimed whole, by one actor.

A node that dies costs the requests under way; each is tried once more, on another node if there is one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.run.node import Bundle, Node, Sent, content_of, pack
from bench.run.requests import Progress
from bench.run.resume import ROOT

LOCAL = "local"
"""Value of ``--cluster`` for a cluster of this machine alone, which ends with the run."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # 15 by default: neighbours would go first
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill the node's process where a case takes too much
}
"""Variables of Ray's own that a local cluster starts with, and that docs/cluster.md gives to others."""
SHAPING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "KMP_AFFINITY", "OMP_PROC_BIND", "OMP_PLACES", "LD_PRELOAD")
"""Variables of the driver that nodes take over: they choose threads and kernels."""
LEFT_AT_HOME = (".git", "results", "reports", "data", "docs", "tests")
"""Folders of the checkout that no case reads."""
READY_SECONDS = 120.0
LOOK_SECONDS = 1.0
Files = Mapping[str, tuple[str, bytes]]
"""Path under ``results`` -> SHA-256 and content."""


@dataclass(kw_only=True, eq=False)
class Place:
    """A node of the cluster that takes requests."""

    key: str
    """Ray's name of the node."""
    cores: float
    gpus: float
    actor: Any = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.facts.get('host', 'node')} ({self.key[:6]})"


@dataclass(kw_only=True, eq=False)
class Job:
    """A request on its way, or done."""

    method: str
    """``perform`` or ``measure`` of `Node`."""
    request: Any
    paths: Sequence[str]
    """Files and folders of the driver that it needs."""
    place: Place | None = None
    """Node where it runs; None while it waits."""
    reference: Any = None
    died: list[str] = field(default_factory=list)
    """Names of the nodes that died while it ran, with the reason."""
    sent: Sent | None = None
    lost: bool = False
    """True if two nodes died, or no node is left."""
    problem: str | None = None
    """Reason why there is no reply although the node is there."""

    @property
    def open(self) -> bool:
        """True if it waits or runs."""
        return self.sent is None and not self.lost and self.problem is None

    @property
    def note(self) -> str:
        """Remark on a second try."""
        place = f" on {self.place.name}" if self.place else ""
        return f"tried again{place}: {', '.join(self.died)} died while it ran"

    @property
    def loss(self) -> str:
        """Reason why there is no result."""
        if self.problem:
            return self.problem
        died = f"{' and '.join(self.died)} died while it ran" if self.died else "its node is gone"
        return f"{died}, and no further try was made" if len(self.died) > 1 else f"{died}, and no other node is left"


class Nodes:
    """The nodes of one run. Requests are jobs: they wait here, and run one at a time on each node."""

    def __init__(
        self, address: str, device: str, *, language: bool, kind: str | None, keep: Callable[[Files], None]
    ) -> None:
        """
        Args:
            kind: resource or accelerator type of the nodes to use; None is all.
            keep: called with the files that a job wrote. Raises OSError where they cannot be kept.

        Raises:
            InputError: Ray is not installed.
        """
        if importlib.util.find_spec("ray") is None:
            raise InputError("--cluster needs Ray, which is not installed: pip install 'ray>=2.50' on every node.")
        self.address, self.kind, self.device, self.language = address, kind, device, language
        self.places: list[Place] = []
        self._keep = keep
        self._bundles: dict[tuple[tuple[str, int, int], ...], Bundle] = {}
        self._jobs: list[Job] = []
        self._folder: str | None = None

    def start(self) -> None:
        """Join or start the cluster, and start an actor on each of its nodes.

        Raises:
            InputError: the cluster cannot be reached, or has no node of the kind.
        """
        import ray

        runtime = {"working_dir": str(ROOT), "excludes": [f"/{name}" for name in LEFT_AT_HOME]}
        options: dict[str, Any] = {"runtime_env": runtime, "log_to_driver": False, "logging_level": "ERROR"}
        os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
        if self.address == LOCAL:
            # Not under results: the path of a socket in it has a limit of about 100 characters.
            self._folder = tempfile.mkdtemp(prefix="halfbyte-ray-")
            options |= {"include_dashboard": False, "_temp_dir": self._folder}
        else:
            options["address"] = self.address
        try:
            if self.address != LOCAL:
                _check_address(self.address)
            ray.init(**options)
        except (OSError, ValueError, RuntimeError) as error:
            self.stop()
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"--cluster {self.address} cannot be joined ({reason}): give {LOCAL}, or HOST:PORT of `ray start`."
            ) from None
        self.places = [place for node in ray.nodes() if (place := self._place_of(node))]
        if not self.places:
            self.stop()
            kind = f" of the kind '{self.kind}'" if self.kind else ""
            raise InputError(f"--cluster {self.address} has no node{kind} with cores for {self.device} cases.")
        for place in self.places:
            self._begin(place)
        self._describe()

    def stop(self) -> None:
        """End what this run started on the nodes, and a local cluster altogether."""
        import ray

        with suppress(Exception):  # a node that died does not answer
            ray.get([place.actor.close.remote() for place in self.places if place.actor], timeout=10)
        for place in self.places:
            with suppress(Exception):
                ray.kill(place.actor)
        ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _place_of(self, node: Mapping[str, Any]) -> Place | None:
        """A place for each node that is alive, of the kind asked for, and has cores (and for CUDA a GPU)."""
        resources = node["Resources"]
        fits = self.kind is None or {self.kind, f"accelerator_type:{self.kind}"} & set(resources)
        cores, gpus = float(resources.get("CPU", 0)), float(resources.get("GPU", 0))
        if not (node["Alive"] and fits and cores) or (self.device != "cpu" and not gpus):
            return None
        return Place(key=node["NodeID"], cores=cores, gpus=gpus)

    def _begin(self, place: Place) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = {
            "num_cpus": place.cores,
            "max_concurrency": 2,  # `Node.close` while a request runs
            "num_gpus": place.gpus if self.device != "cpu" else 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(place.key, soft=False),
        }
        environment = {name: os.environ.get(name, "") for name in SHAPING}
        actor = ray.remote(Node).options(**options)
        place.actor = actor.remote(self.device, self.language, environment, ray.get)

    def _describe(self) -> None:
        """Ask each node for its name.

        Raises:
            InputError: a node does not begin, or its processes have a low priority.
        """
        import ray

        for place in self.places:
            try:
                place.facts = ray.get(place.actor.describe.remote(), timeout=READY_SECONDS)
            except ray.exceptions.RayError as error:
                self.stop()
                reason = " ".join(str(error).split())[:300]
                raise InputError(
                    f"node {place.key[:6]} does not begin ({reason}): is it free, with the suite's packages?"
                ) from None
            if place.facts["niceness"] > 0:
                self.stop()
                raise InputError(
                    f"node {place.name} runs at low priority: start Ray there with RAY_worker_niceness=0 ray start."
                )

    def submit(self, method: str, request: Any, paths: Sequence[str]) -> Job:
        """A new job, which waits for a free node."""
        job = Job(method=method, request=request, paths=paths)
        self._jobs.append(job)
        return job

    def finish(self, job: Job, progress: Progress) -> None:
        """Wait until ``job`` is done or lost, and serve the others meanwhile. It goes to the next free node."""
        import ray

        if job in self._jobs:
            self._jobs.remove(job)
            self._jobs.insert(0, job)
        while job.open:
            self.assign()
            running = {one.reference: one for one in self._jobs if one.reference is not None}
            if not running:
                job.lost = True
                break
            if job.place:
                progress(f"on {job.place.name}")
            done, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
            for reference in done:
                self._take(running[reference])
        if job in self._jobs:
            self._jobs.remove(job)

    def assign(self) -> None:
        """Give waiting jobs to free nodes."""
        busy = {job.place for job in self._jobs if job.reference is not None}
        free = [place for place in self.places if place not in busy]
        for job in self._jobs:
            if job.reference is None and job.open and free:
                job.place = free.pop(0)
                bundles = {path: self._bundle(path) for path in job.paths}
                job.reference = getattr(job.place.actor, job.method).remote(job.request, bundles)

    def _take(self, job: Job) -> None:
        """Take the reply of ``job`` with its files, or see that its node died."""
        import ray

        assert job.place is not None
        reference, job.reference = job.reference, None
        try:
            sent: Sent = ray.get(reference)
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.WorkerCrashedError):
            job.died.append(job.place.name)
            job.lost = len(job.died) > 1
            self._replace(job.place)
            return
        except ray.exceptions.RayError as error:
            job.problem = f"node {job.place.name}: {' '.join(str(error).split())[-300:]}"
            return
        try:
            self._keep(sent.files)
            job.sent = sent
        except OSError as error:
            job.problem = f"files of node {job.place.name} cannot be kept here ({error})"

    def _replace(self, place: Place) -> None:
        """Begin anew where only the process of ``place`` died; else go on without the node."""
        import ray

        self.places.remove(place)
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if place.key not in alive:
            return
        self._begin(place)
        with suppress(ray.exceptions.RayError):  # its node is about to be found dead
            place.facts = ray.get(place.actor.describe.remote(), timeout=READY_SECONDS)
            self.places.append(place)

    def _bundle(self, path: str) -> Bundle:
        """``path`` in the object store, once for each content."""
        import ray

        source = Path(path)
        state = _state_of(source)
        if state not in self._bundles:
            reference = ray.put(pack(source))
            self._bundles[state] = Bundle(sha256=content_of(source), name=source.name, reference=reference)
        return self._bundles[state]


def _check_address(address: str) -> None:
    """Raise OSError or ValueError if nothing listens at HOST:PORT: Ray would try for a minute."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=READY_SECONDS / 10).close()


def _state_of(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times of change and sizes of the files of ``path``: content is hashed anew when one of them changes."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
