"""Cases on the nodes of a Ray cluster (`--cluster`): each request claims a whole node, so that nothing is shared.

The driver keeps the one journal. Code travels by Ray's runtime environment, files by their content through its object
store: see `bench.run.nodes`, and `bench.run.node` for what runs there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.records import Failure, Measurement, outcome_from_json, to_json
from bench.core.turns import reference_of
from bench.core.workspace import sha256_of
from bench.run.node import PATHS, SetRequest
from bench.run.nodes import Files, Job, Nodes
from bench.run.process import ProcessRunner, Worker
from bench.run.requests import Performed, Progress
from bench.run.turns import Sets

ALIKE = ("device_name", "device_memory_bytes", "cpu", "cores", "cpu_features", "python", "driver", "cuda", "versions")
"""Facts about a machine in which the nodes of one run agree."""


class ClusterRunner:
    """Runs requests on the nodes of a Ray cluster. Data are prepared on the machine of the driver."""

    def __init__(self, address: str, results: Path, device: str, *, language: bool, kind: str | None = None) -> None:
        """
        Args:
            kind: resource or accelerator type of the nodes to use; None is all.

        Raises:
            InputError: Ray is not installed.
        """
        self.device, self.results = device, results
        self._nodes = Nodes(address, device, language=language, kind=kind, keep=self._keep)
        self._home = ProcessRunner(device=device, language=language)
        self.preload = self._home.preload
        self._ahead: dict[str, Job] = {}

    def start(self) -> None:
        """Join or start the cluster, and start an actor on each of its nodes.

        Raises:
            InputError: the cluster cannot be reached, or has no node of the kind.
        """
        self._home.start()
        self._nodes.start()

    def stop(self) -> None:
        """End what this run started on the nodes, and a local cluster altogether."""
        self._nodes.stop()

    def open(self, request: dict[str, Any], progress: Progress) -> Worker:
        """Not for clusters: a set is measured on one node, see `measure`."""
        raise RuntimeError("a set of a cluster is measured on a node")

    def perform(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Like ``worker.perform``, on a free node: a node that dies twice becomes a failure."""
        if request["action"] in ("prepare", "fetch"):
            return self._home.perform(request, progress)
        if request["action"] == "survey":
            return self._survey(request)
        job = self._ahead.pop(_id_of(request), None) or self._nodes.submit("perform", request, _paths_of(request))
        self._nodes.finish(job, progress)
        if job.sent is None:
            return {"failure": {"kind": "crashed", "message": job.loss}}
        reply: dict[str, Any] = {**job.sent.content, "seconds": job.sent.seconds}
        if job.died and "answer" in reply:
            reply["answer"]["notes"] = [*reply["answer"]["notes"], job.note]
        return reply

    def ahead(self, requests: Sequence[dict[str, Any]]) -> None:
        """Let idle nodes begin with requests to run cases that are going to be made."""
        for request in requests:
            self._ahead[_id_of(request)] = self._nodes.submit("perform", request, _paths_of(request))
        self._nodes.assign()

    def measure(self, sets: Sets, progress: Progress) -> dict[str, Performed]:
        """Measure a set on one node: `Sets.measure` there."""
        cases = {case.id: case for case in (*sets.members, reference_of(sets.members[0]))}
        request = SetRequest(
            members=[to_json(case) for case in sets.members],
            count=sets.count,
            close=sets.close,
            memory_bytes=sets.memory_bytes,
            requests={
                (key, number): sets.request(case, number) for key, case in cases.items() for number in range(sets.most)
            },
            limits={key: sets.limit(case) for key, case in cases.items()},
        )
        paths = {path for one in request.requests.values() for path in _paths_of(one)}
        job = self._nodes.submit("measure", request, sorted(paths))
        self._nodes.finish(job, progress)
        return _performed(sets, job)

    def _survey(self, request: dict[str, Any]) -> dict[str, Any]:
        """The machine of the nodes, which have to be alike: rows of one run are compared with one another."""
        import ray

        replies = ray.get([place.actor.perform.remote(request, {}) for place in self._nodes.places])
        first: dict[str, Any] = replies[0].content
        for place, sent in zip(self._nodes.places, replies, strict=True):
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
                    f"nodes {self._nodes.places[0].name} and {place.name} differ in {', '.join(differing)}: give one "
                    "kind of node with --nodes, and run once for each; a report shows several runs side by side."
                )
        return first

    def _keep(self, files: Files) -> None:
        """Write files of a node under ``results``, each whole and with the content that it had there."""
        for name, (digest, content) in files.items():
            target = self.results / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            partial.write_bytes(content)
            if sha256_of(partial) != digest:
                raise OSError(f"{name} arrived with another content than it was sent with")
            os.replace(partial, target)


def _id_of(request: Mapping[str, Any]) -> str:
    """Id of the case of a request: its log has the name."""
    return Path(request["log"]).stem


def _paths_of(request: Mapping[str, Any]) -> list[str]:
    return [request["workspace"][name] for name in PATHS if request["workspace"][name]]


def _performed(sets: Sets, job: Job) -> dict[str, Performed]:
    """Results of a set, by the id of the case."""
    if job.sent is None:
        lost = [Failure(case=case, kind="crashed", message=job.loss) for case in sets.members]
        return {failure.case.id: Performed(outcome=failure) for failure in lost}
    found: dict[str, Performed] = {}
    for case_id, (content, seconds) in job.sent.content.items():
        outcome = outcome_from_json(content)
        if job.died and isinstance(outcome, Measurement):
            outcome = outcome_from_json({**content, "notes": [*content["notes"], job.note]})
        found[case_id] = Performed(outcome=outcome, seconds=seconds)
    return found
