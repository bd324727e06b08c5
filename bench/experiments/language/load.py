"""Loading a language model: seconds, and in a pass of its own the peak of memory meanwhile and what stays."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import Any

import torch

from bench.core.records import Case, Figure, Measurement, Peak
from bench.core.workspace import Workspace
from bench.experiments.conversion import precision_of
from bench.experiments.language.subject import folder_of, from_pretrained, load_model, measured, quiet
from bench.measure import memory
from bench.precision.language_loading import loading_of
from bench.precision.storage import tensors_as_stored
from models.language_files import weight_files


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Memory that a model takes: at most while it is loaded, and once it is."""

    peaks: tuple[Peak, ...] = ()
    resident_bytes: int | None = None
    problem: str | None = None
    """Why there is neither."""


def run(case: Case, workspace: Workspace) -> Measurement:
    """Load once, as only the first time is what a user waits for. Files may be in the page cache.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: this machine or these versions cannot load it at the case's precision.
    """
    watched = _forked(case, workspace) if case.device == "cpu" else Taken()
    subject = load_model(case, workspace)
    taken = watched if case.device == "cpu" else _on_cuda(subject.model, subject.device)
    figures = {"checkpoint_bytes": Figure(value=_checkpoint_bytes(workspace), unit="B", exact=True)}
    if taken.resident_bytes is not None:
        figures["resident_bytes"] = Figure(value=taken.resident_bytes, unit="B", better="lower")
    absent = {"coverage FLOPs": "see decode"}
    if taken.problem:
        absent["peaks"] = taken.problem
    return Measurement(
        **measured(
            subject,
            seconds=(subject.load_seconds,),
            peaks=taken.peaks,
            figures=figures,
            absent=absent,
        )
    )


def _checkpoint_bytes(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in weight_files(folder_of(workspace)))


def _on_cuda(model: Any, device: torch.device) -> Taken:
    """The allocator counts its peak anyway: in this process there was nothing but the loading."""
    return Taken(
        peaks=tuple(memory.cuda_peaks("load", device)),
        resident_bytes=int(torch.cuda.memory_allocated(device)),
    )


def _forked(case: Case, workspace: Workspace) -> Taken:
    """Watched in a child, which ends with it: what a first load leaves in the heap would hide a part of the second.

    Nothing where the system cannot fork or does not tell what a process holds, nor under ``--isolation none``: where
    threads have worked already, a fork would wait for them for ever.
    """
    why = memory.why_absent(torch.device(case.device))
    alone = multiprocessing.parent_process() is not None and "fork" in multiprocessing.get_all_start_methods()
    if why or not alone:
        return Taken(problem=why or "watched only in a worker process that can fork another one")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_watch, args=(case, workspace, there))
    child.start()
    there.close()
    try:
        held: Taken = here.recv()
    except EOFError:  # where loading fails, it fails again in this process, which tells why
        held = Taken(problem="the pass that was watched ended early: its log tells why")
    child.join()
    return held


def _watch(case: Case, workspace: Workspace, there: Any) -> None:
    """Weights that are used where they lie in their file are added to what no file stands behind."""
    # A fork has lost its parent's threads: asked for here, before transformers loads in several threads at once.
    torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    loading = loading_of(precision_of(case), device)
    quiet()
    with memory.anonymous_growth() as held:
        model = from_pretrained(folder_of(workspace), loading, device)
    mapped = memory.mapped_bytes(tensors_as_stored(model))
    peak = Peak(phase="load", kind="rss", bytes=held.most + mapped)
    there.send(Taken(peaks=(peak,), resident_bytes=held.last + mapped))
