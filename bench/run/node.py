"""A node of a cluster: runs requests in fresh processes, on files sent once for each content. Imports no Ray."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.other_work import usable_cores
from bench.core.records import Case, from_json, to_json
from bench.run.process import ProcessRunner
from bench.run.turns import Sets

PREFIX = "halfbyte-node-"
PATHS = ("decoded", "artefact", "model_folder")
"""Paths of a request that a node needs the files of."""
STAYS = ("compiled",)
"""Folders under ``results`` that are of use on one machine only."""
UNFINISHED = ".partial"
"""Part of the names of checkpoints and of files that are being written."""

Fetch = Callable[[Any], bytes]
"""Gives the bytes of a reference into the object store."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A file or folder in the object store."""

    sha256: str
    """SHA-256 of its names and contents, see `content_of`."""
    name: str
    reference: Any


@dataclass(frozen=True, kw_only=True)
class SetRequest:
    """A set, as it travels: `Sets` holds functions."""

    members: Sequence[Any]
    """Cases as JSON values."""
    count: int
    close: float | None
    memory_bytes: int | None
    requests: Mapping[tuple[str, int], dict[str, Any]]
    """Requests by the id of the case and the number of the set."""
    limits: Mapping[str, float]
    """Seconds by the id of the case."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Reply of a node."""

    content: Any
    files: Mapping[str, tuple[str, bytes]]
    """Files that the request wrote: path under ``results`` -> SHA-256 and content."""
    seconds: float


class Node:
    """One node: its fork server, and a folder of its own that ends with it. One request runs at a time."""

    def __init__(self, device: str, language: bool, environment: Mapping[str, str], fetch: Fetch) -> None:
        """
        Args:
            environment: variables of the driver that choose threads and kernels; the others of them are removed.
        """
        _remove_old_folders()
        for name in ("OMP_NUM_THREADS", *environment):  # Ray sets the first one by its own count of cores
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in environment.items() if value})
        # A forked worker would import Ray's main module, and Ray with it.
        sys.modules["__main__"].__dict__.pop("__file__", None)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._fetch = fetch
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)  # Ray lowers that of its workers
        self._niceness = os.nice(0)
        self._runner = ProcessRunner(device=device, language=language)
        self._runner.start()

    def describe(self) -> dict[str, Any]:
        """Name, cores and priority of this node."""
        cores = usable_cores()
        return {"host": socket.gethostname(), "cores": cores, "niceness": self._niceness}

    def perform(self, request: dict[str, Any], bundles: Mapping[str, Bundle]) -> Sent:
        """Do what ``request`` asks with the files of ``bundles``, by their paths on the driver's machine."""
        began, begin = time.time_ns(), time.monotonic()
        reply = self._runner.perform(self._local(request, bundles), _silent)
        self._remove_spent([reply])
        return Sent(content=reply, files=self._written(began), seconds=time.monotonic() - begin)

    def measure(self, request: SetRequest, bundles: Mapping[str, Bundle]) -> Sent:
        """Measure a set in turns: results by the id of the case, each with its outcome and seconds."""
        began, begin = time.time_ns(), time.monotonic()
        local = {key: self._local(one, bundles) for key, one in request.requests.items()}
        found = Sets(
            members=[from_json(Case, case) for case in request.members],
            count=request.count,
            close=request.close,
            memory_bytes=request.memory_bytes,
            request=lambda case, number: local[case.id, number],
            open_worker=self._runner.open,
            limit=lambda case: request.limits[case.id],
            progress=_silent,
        ).measure()
        content = {case: (to_json(one.outcome), one.seconds) for case, one in found.items()}
        for one in found.values():
            for file in one.spent:
                file.unlink(missing_ok=True)
        return Sent(content=content, files=self._written(began), seconds=time.monotonic() - begin)

    def close(self) -> None:
        """Remove the folder of this node."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _local(self, request: dict[str, Any], bundles: Mapping[str, Bundle]) -> dict[str, Any]:
        """``request`` with paths of this node in place of the driver's."""
        space = dict(request["workspace"])
        space |= {"results": str(self.folder / "results"), "data_dir": str(self.folder / "data")}
        for name in PATHS:
            if space[name]:
                space[name] = str(self._placed(bundles[space[name]], name))
        log = self.folder / "results" / "logs" / Path(request["log"]).name
        return {**request, "workspace": space, "log": str(log)}

    def _placed(self, bundle: Bundle, kind: str) -> Path:
        """Path of the file or folder of ``bundle`` here, taken from the object store if it is not there yet."""
        folder = self.folder / "inputs" / kind / bundle.sha256
        if not folder.exists():
            partial = folder.with_name(f"{bundle.sha256}{UNFINISHED}")
            shutil.rmtree(partial, ignore_errors=True)
            unpack(self._fetch(bundle.reference), partial)
            digest = content_of(partial / bundle.name)
            if digest != bundle.sha256:
                raise OSError(f"{bundle.name} arrived with the content {digest[:16]}, not {bundle.sha256[:16]}")
            partial.rename(folder)
        return folder / bundle.name

    def _written(self, since: int) -> dict[str, tuple[str, bytes]]:
        """Finished files under ``results`` of this node that were written after ``since``, in nanoseconds."""
        results, found = self.folder / "results", dict[str, tuple[str, bytes]]()
        for file in results.rglob("*"):
            place = file.relative_to(results)
            if place.parts[0] in STAYS or UNFINISHED in file.name or not file.is_file():
                continue
            if file.stat().st_mtime_ns >= since:
                content = file.read_bytes()
                found[place.as_posix()] = (hashlib.sha256(content).hexdigest(), content)
        return found

    def _remove_spent(self, replies: Sequence[dict[str, Any]]) -> None:
        for reply in replies:
            for file in reply.pop("spent", ()):
                Path(file).unlink(missing_ok=True)


def content_of(path: Path) -> str:
    """SHA-256 of the names, below ``path``, and contents of its files; of a file its own name and content."""
    total = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.relative_to(path.parent).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()


def pack(path: Path) -> bytes:
    """A file or folder as the bytes of an archive. Links are followed: their targets are not there on another node."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", dereference=True) as archive:
        archive.add(path, arcname=path.name)
    return stream.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Write what `pack` packed into ``folder``."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")


def _remove_old_folders() -> None:
    """Remove folders of nodes on this machine whose process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _silent(line: str) -> None:
    """Progress that stays on the node."""
