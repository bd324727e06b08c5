"""Cases on the nodes of a Ray cluster (`--cluster`): each request claims a whole node, so that nothing is shared.

The driver keeps the one journal. Code travels by Ray's runtime environment, files by their content through its object
store. A node that dies costs the requests under way; each is tried once more, on another node if there is one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.records import Failure, Measurement, outcome_from_json, to_json
from bench.core.turns import reference_of
from bench.core.workspace import sha256_of
from bench.run.node import PATHS, Bundle, Node, Sent, SetRequest, content_of, pack
from bench.run.process import ProcessRunner, Worker
from bench.run.requests import Performed, Progress
from bench.run.resume import ROOT
from bench.run.turns import Sets

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
ALIKE = ("device_name", "device_memory_bytes", "cpu", "cores", "cpu_features", "python", "driver", "cuda", "versions")
"""Facts about a machine in which the nodes of one run agree."""
READY_SECONDS = 120.0
LOOK_SECONDS = 1.0


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


class ClusterRunner:
    """Runs requests on the nodes of a Ray cluster. Data are prepared on the machine of the driver."""

    def __init__(self, address: str, results: Path, device: str, *, language: bool, kind: str | None = None) -> None:
        """
        Args:
            kind: resource or accelerator type of the nodes to use; None is all.

        Raises:
            InputError: Ray is not installed.
        """
        if importlib.util.find_spec("ray") is None:
            raise InputError("--cluster needs Ray, which is not installed: pip install 'ray>=2.50' on every node.")
        self.address, self.kind, self.device, self.language = address, kind, device, language
        self.results = results
        self.places: list[Place] = []
        self._home = ProcessRunner(device=device, language=language)
        self.preload = self._home.preload
        self._bundles: dict[tuple[tuple[str, int, int], ...], Bundle] = {}
        self._jobs: list[Job] = []
        self._ahead: dict[str, Job] = {}
        self._folder: str | None = None

    def start(self) -> None:
        """Join or start the cluster, and begin on each of its nodes.

        Raises:
            InputError: the cluster cannot be reached, or has no node of the kind.
        """
        import ray

        self._home.start()
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

    def open(self, request: dict[str, Any], progress: Progress) -> Worker:
        """Not for clusters: a set is measured on one node, see `measure`."""
        raise RuntimeError("a set of a cluster is measured on a node")

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Like ``worker.perform``, on a free node: a node that dies twice becomes a failure."""
        if request["action"] in ("prepare", "fetch"):
            return self._home.perform(request, progress)
        if request["action"] == "survey":
            return self._survey(request)
        job = self._ahead.pop(_id_of(request), None) or self._submit("perform", request, _paths_of(request))
        self._finish(job, progress)
        if job.sent is None:
            return {"failure": {"kind": "crashed", "message": _loss(job)}}
        reply: dict[str, Any] = {**job.sent.content, "seconds": job.sent.seconds}
        if job.died and "answer" in reply:
            reply["answer"]["notes"] = [*reply["answer"]["notes"], _note(job)]
        return reply

    def ahead(self, requests: Sequence[dict[str, Any]]) -> None:
        """Let idle nodes begin with requests to run cases that are going to be made."""
        for request in requests:
            self._ahead[_id_of(request)] = self._submit("perform", request, _paths_of(request))
        self._assign()

    def measure(self, sets: Sets, progress: Progress) -> dict[str, Performed]:
        """Measure a set on one node: `Sets.measure` there."""
        cases = {case.id: case for case in (*sets.members, reference_of(sets.members[0]))}
        request = SetRequest(
            members=[to_json(case) for case in sets.members],
            count=sets.count,
            close=sets.close,
            memory_bytes=sets.memory_bytes,
            requests={
                (key, number): sets.request(case, number) for key, case in cases.items() for number in range(sets.count)
            },
            limits={key: sets.limit(case) for key, case in cases.items()},
        )
        paths = {path for one in request.requests.values() for path in _paths_of(one)}
        job = self._submit("measure", request, sorted(paths))
        self._finish(job, progress)
        return _performed(sets, job)

    def _survey(self, request: dict[str, Any]) -> dict[str, Any]:
        """The machine of the nodes, which have to be alike: rows of one run are compared with one another."""
        import ray

        replies = ray.get([place.actor.perform.remote(request, {}) for place in self.places])
        first: dict[str, Any] = replies[0].content
        for place, sent in zip(self.places, replies, strict=True):
            if "failure" in sent.content:
                raise InputError(f"node {place.name}: {sent.content['failure']['message']}")
            if self.device == "cpu" and request["threads"] > place.cores:
                raise InputError(
                    f"node {place.name} has {place.cores:g} cores: give --threads {place.cores:g} or less."
                )
            machines = first["answer"]["machine"], sent.content["answer"]["machine"]
            differing = [name for name in ALIKE if machines[0][name] != machines[1][name]]
            if differing:
                raise InputError(
                    f"nodes {self.places[0].name} and {place.name} differ in {', '.join(differing)}: give one kind of "
                    "node with --nodes, and run once for each kind; a report shows several runs side by side."
                )
        return first

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

    def _submit(self, method: str, request: Any, paths: Sequence[str]) -> Job:
        job = Job(method=method, request=request, paths=paths)
        self._jobs.append(job)
        return job

    def _finish(self, job: Job, progress: Progress) -> None:
        """Wait until ``job`` is done or lost, and serve the others meanwhile. It goes to the next free node."""
        import ray

        if job in self._jobs:
            self._jobs.remove(job)
            self._jobs.insert(0, job)
        while job.sent is None and not job.lost:
            self._assign()
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

    def _assign(self) -> None:
        """Give waiting jobs to free nodes."""
        busy = {job.place for job in self._jobs if job.reference is not None}
        free = [place for place in self.places if place not in busy]
        for job in self._jobs:
            if job.reference is None and job.sent is None and not job.lost and free:
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
        self._keep(sent.files)
        job.sent = sent

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

    def _keep(self, files: Mapping[str, tuple[str, bytes]]) -> None:
        """Write files of a node under ``results``, each whole and with the content that it had there."""
        for name, (digest, content) in files.items():
            target = self.results / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            partial.write_bytes(content)
            if sha256_of(partial) != digest:
                raise OSError(f"{name} arrived with another content than it was sent with")
            os.replace(partial, target)

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


def _id_of(request: Mapping[str, Any]) -> str:
    """Id of the case of a request: its log has the name."""
    return Path(request["log"]).stem


def _paths_of(request: Mapping[str, Any]) -> list[str]:
    return [request["workspace"][name] for name in PATHS if request["workspace"][name]]


def _note(job: Job) -> str:
    place = f" on {job.place.name}" if job.place else ""
    return f"tried again{place}: {', '.join(job.died)} died while it ran"


def _loss(job: Job) -> str:
    died = f"{' and '.join(job.died)} died while it ran" if job.died else "its node is gone"
    return f"{died}, and no further try was made" if len(job.died) > 1 else f"{died}, and no other node is left"


def _performed(sets: Sets, job: Job) -> dict[str, Performed]:
    """Results of a set, by the id of the case."""
    if job.sent is None:
        lost = [Failure(case=case, kind="crashed", message=_loss(job)) for case in sets.members]
        return {failure.case.id: Performed(outcome=failure) for failure in lost}
    found: dict[str, Performed] = {}
    for case_id, (content, seconds) in job.sent.content.items():
        outcome = outcome_from_json(content)
        if job.died and isinstance(outcome, Measurement):
            outcome = outcome_from_json({**content, "notes": [*content["notes"], _note(job)]})
        found[case_id] = Performed(outcome=outcome, seconds=seconds)
    return found
