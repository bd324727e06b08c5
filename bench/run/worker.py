"""The inside of the fresh process: set the flags, run one experiment, answer with plain JSON values.

This is the only module of the engine that reaches the experiments, and it does so when it is called, not on import.
"""

from __future__ import annotations

import faulthandler
import importlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from bench.core.errors import InputError, TooLittleMemory, Unsupported
from bench.core.records import Case, FailureKind, Peak, from_json, to_json
from bench.core.turns import Taken, Turns
from bench.core.workspace import Workspace

Progress = Callable[[str], None]
OUT_OF_MEMORY_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "bad_alloc",  # C++
    "ALLOC_FAILED",  # cuBLAS and cuDNN
)
NO_ENGINE = "unable to find an engine to execute this computation"
"""Message of cuDNN where no kernel's workspace fits, but also where it has no kernel: pytorch issue 108645."""
LITTLE = 0.05
"""Share of a GPU's memory that is little enough to have been the reason."""


def main(connection: Any, request: dict[str, Any]) -> None:
    """Entry point of a worker process: performs one request and sends ``("reply", …)`` as its last message."""
    _stand_alone()
    _redirect_output(Path(request["log"]))
    # A C thread, which a hang that holds the interpreter lock cannot stop; the engine's own limit comes first.
    faulthandler.dump_traceback_later(request["time_limit"] + 30, exit=True)
    try:
        turns = _Seat(connection) if request.get("turns") else None
        reply = perform(request, lambda line: connection.send(("progress", line)), turns)
    except BaseException as error:  # SystemExit in a network, say: a worker has nobody to raise to
        traceback.print_exc()
        reply = {"failure": {"kind": "error", "message": _message(error, "error")}}
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(("reply", reply))
    connection.close()


def perform(request: dict[str, Any], progress: Progress, turns: Turns | None = None) -> dict[str, Any]:
    """Do what ``request`` asks: ``survey`` the machine, ``prepare`` data and networks, ``fetch`` a language model's
    files, or ``run`` a case.

    Returns:
        ``{"answer": …, "spent": …}``, the files that are of no use once the answer is kept; or
        ``{"failure": {"kind": …, "message": …}}``. What is no ``Exception`` is raised: Ctrl-C and the end of a debugger
        go on to pytest where this runs in its process.
    """
    spent: list[str] = []
    space = replace(_workspace(request, progress), turns=turns, spent=lambda file: spent.append(str(file)))
    try:
        return {"answer": ACTIONS[request["action"]](request, space), "spent": spent}
    except Exception as error:
        traceback.print_exc()
        kind = kind_of(error)
        return {"failure": {"kind": kind, "message": _message(error, kind)}}


class _Seat:
    """Place of this worker in its set: it waits on its pipe, without using a core, until it is called.

    Messages to it are ``(what, seconds, certain)``: a ``turn``, ``peaks`` for that pass alone, or ``finish`` for all
    passes that follow the rounds.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def serve(self, take: Callable[[], Taken], peaks: Callable[[], Sequence[Peak]] | None, held_bytes: int) -> bool:
        message: tuple[str, Any] = ("ready", {"held_bytes": held_bytes})
        while True:
            faulthandler.cancel_dump_traceback_later()
            idle, cpu = -time.perf_counter(), -time.process_time()
            self._connection.send(message)
            what, seconds, certain = self._connection.recv()
            idle, cpu = idle + time.perf_counter(), cpu + time.process_time()
            faulthandler.dump_traceback_later(seconds + 30, exit=True)
            if what == "finish":
                return bool(certain)
            if what == "peaks":
                message = ("peaks", {"peaks": to_json(tuple(peaks() if peaks else ()))})
                continue
            message = ("turn", {**to_json(take()), "idle_seconds": idle, "idle_cpu_seconds": cpu})


def kind_of(error: BaseException) -> FailureKind:
    """Kind of Failure that an exception is."""
    if isinstance(error, Unsupported):
        return "unsupported"
    lacks_memory = isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY_SIGNS)
    return "out_of_memory" if lacks_memory or (NO_ENGINE in str(error) and _gpu_is_full()) else "error"


def _gpu_is_full() -> bool:
    """True if little memory is free. Unused memory of torch's allocator counts as free, since kernels can have it."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated() < LITTLE * total


def _message(error: BaseException, kind: FailureKind) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, InputError | Unsupported | TooLittleMemory):
        return text
    # torch's messages carry whole C++ stacks: the first sentences say what happened, the log has the rest.
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__


def _survey(request: dict[str, Any], space: Workspace) -> dict[str, Any]:
    preloaded = [name for name in request["preload"] if name in sys.modules]
    import torch

    from bench.measure import machine

    if request["device"] != "cpu" and torch.cuda._is_in_bad_fork():  # is_initialized() is False in every forked child
        raise InputError(
            "CUDA was initialised before the worker began, which breaks it there; preload nothing that does"
        )
    surveyed = machine.survey(request["device"])
    machine.set_flags(threads=request["threads"], device=request["device"])
    return {"machine": to_json(surveyed), "preloaded": preloaded, "flags": machine.current_flags()}


def _prepare(request: dict[str, Any], space: Workspace) -> dict[str, Any]:
    from bench.experiments import preparation

    case, *users = (from_json(Case, value) for value in (request["case"], *request["users"]))
    return preparation.prepare(case, space, users=users)


def _fetch(request: dict[str, Any], space: Workspace) -> dict[str, Any]:
    import torch

    from bench.experiments.language import checkpoint

    # A fork has lost its server's threads: asked for here, before transformers loads in several threads at once.
    torch.set_num_threads(torch.get_num_threads())
    return checkpoint.fetch(request["model"], space)


def _run(request: dict[str, Any], space: Workspace) -> dict[str, Any]:
    case = from_json(Case, request["case"])
    from bench.core.experiments import EXPERIMENTS
    from bench.measure import machine

    machine.set_flags(threads=case.threads, device=case.device)
    module, _, function = EXPERIMENTS[case.experiment].entry.partition(":")
    outcome = getattr(importlib.import_module(f"bench.experiments.{module}"), function)(case, space)
    answer: dict[str, Any] = to_json(outcome)
    return answer


ACTIONS: dict[str, Callable[[dict[str, Any], Workspace], dict[str, Any]]] = {
    "survey": _survey,
    "prepare": _prepare,
    "fetch": _fetch,
    "run": _run,
}


def paths_of(space: Workspace) -> dict[str, Any]:
    """Workspace of a run, as its requests carry it. Paths that one case reads are added to it."""
    return {
        "results": str(space.results),
        "data_dir": str(space.data_dir),
        "decoded": str(space.decoded) if space.decoded else None,
        "artefact": None,
        "untrained": None,
        "model_folder": None,
        "fingerprint": space.fingerprint,
        "training_code": space.training_code,
        "profile": space.profile,
        "track": list(space.track),
        "set_number": space.set_number,
    }


def _workspace(request: dict[str, Any], progress: Progress) -> Workspace:
    paths = request["workspace"]
    return Workspace(
        results=Path(paths["results"]),
        data_dir=Path(paths["data_dir"]),
        artefact=Path(paths["artefact"]) if paths["artefact"] else None,
        untrained=paths["untrained"],
        model_folder=Path(paths["model_folder"]) if paths["model_folder"] else None,
        decoded=Path(paths["decoded"]) if paths["decoded"] else None,
        fingerprint=paths["fingerprint"],
        training_code=paths["training_code"],
        profile=paths["profile"],
        track=tuple(paths["track"]),
        set_number=paths["set_number"],
        progress=progress,
    )


def _stand_alone() -> None:
    """Lead a process group of our own, and end it when pytest is gone."""
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is pytest's to handle: it ends this group
    if sys.platform.startswith("linux"):
        # A child of the fork server would start its own children through it, and torch's DataLoader with it: each
        # loader worker would then import torch anew, for seconds in every epoch. fork is what users of torch have.
        multiprocessing.set_start_method("fork", force=True)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    parent.join()
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


class _Log(io.TextIOWrapper):
    """A stream to a file on a disk that may be full: what does not fit is lost, and the case goes on."""

    def __init__(self, descriptor: int) -> None:
        file = io.FileIO(descriptor, "w", closefd=False)
        super().__init__(
            file,  # without a buffer: what a full disk refused must not come again on close
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _redirect_output(log: Path) -> None:
    file = _opened(log)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    # The fork server has no standard input and its streams were made before this: make them anew on the new files.
    sys.stdout, sys.stderr = _Log(1), _Log(2)
    faulthandler.enable(file=sys.stderr)


def _opened(log: Path) -> int:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError:  # a case is worth more than its log
        return os.open(os.devnull, os.O_WRONLY)
