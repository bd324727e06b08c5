"""Memory: bytes of the weights as stored, and the peak of one step, taken in a pass of its own."""

from __future__ import annotations

import ctypes
import io
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bench.core.records import Peak
from bench.measure.machine import ask, handle_of

PEAK_RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
MAPS = Path("/proc/self/maps")
SMAPS = Path("/proc/self/smaps")
MEMORY_EVENT = "[memory]"
"""Name of the profiler's events of the allocator."""
WATCH_SECONDS = 0.002
M_MMAP_THRESHOLD = -3
"""Constant of ``malloc.h``."""
LARGE_BLOCK_BYTES = 2**18


def weight_bytes(network: nn.Module) -> int:
    """Bytes of parameters and buffers as stored, each storage counted once."""
    return bytes_of([*network.parameters(), *network.buffers()])


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of ``tensors`` as stored, each storage counted once.

    Tensor subclasses (quantised weights) are taken apart into the plain tensors that they hold: ``element_size()`` of
    the subclass is that of the type it represents, not of the type stored.
    """
    storages = {
        plain.untyped_storage().data_ptr(): plain.untyped_storage().nbytes()
        for tensor in tensors
        for plain in _plain_tensors(tensor)
    }
    return sum(storages.values())


def _plain_tensors(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from _plain_tensors(getattr(tensor, name))


def serialized_bytes(network: nn.Module) -> int:
    """Bytes of the state dict's file, as ``torch.save`` writes it."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getbuffer().nbytes


def available_bytes(device: torch.device) -> int | None:
    """Bytes free for a new model: of the GPU, or "available" by Linux; None if the system does not report them."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError):
        for line in MEMORY.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


@dataclass(kw_only=True)
class Held:
    """Bytes that a piece of work added to this process, at most and at its end.

    Pages of mapped files are not counted, since the system may drop them at any time.
    """

    most: int = 0
    last: int = 0


Found = TypeVar("Found")


@contextmanager
def anonymous_growth() -> Iterator[Held]:
    """Watch the process's anonymous memory from a thread, in an untimed pass: Linux keeps no peak of it.

    From here on the C library returns each large block as soon as it is freed. The blocks that it keeps for later
    differ by hundreds of megabytes between one load and the next.

    Raises:
        OSError: the system does not report it.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
    reset_high_water()
    held = Held()
    begin = anonymous_bytes()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_SECONDS):
            held.most = max(held.most, anonymous_bytes() - begin)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join()
        reset_high_water()
        held.last = max(0, anonymous_bytes() - begin)
        held.most = max(held.most, held.last)


@contextmanager
def apart(work: Callable[[], Found]) -> Iterator[Callable[[], Found | str]]:
    """Fork a child that waits, and does ``work`` when it is asked: what this process does meanwhile is not in its heap.

    Enter it before anything starts threads, which a fork loses: it would wait for them for ever. So nothing is forked
    under ``--isolation none``.

    Yields:
        Function that gives the result of ``work``, or the reason why there is none. It is asked once.
    """
    alone = multiprocessing.parent_process() is not None and "fork" in multiprocessing.get_all_start_methods()
    why = why_absent(torch.device("cpu")) or (
        None if alone else "measured only in a worker process that can fork another one"
    )
    if why:
        yield lambda: why
        return
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_when_asked, args=(work, here, there))
    child.start()
    there.close()

    def ask() -> Found | str:
        try:
            here.send(True)
            found: Found = here.recv()
        except (EOFError, OSError):
            return "the child that measured memory ended early; its log has the reason"
        return found

    try:
        yield ask
    finally:
        here.close()
        child.join()


def _when_asked(work: Callable[[], object], parents: Connection, pipe: Connection) -> None:
    parents.close()  # else the parent's end stays open here, and its closing would not be seen
    with suppress(EOFError):
        pipe.recv()
        pipe.send(work())


def anonymous_bytes() -> int:
    """Bytes of this process that are not backed by a file."""
    return _status_bytes("RssAnon")


def held_bytes(device: torch.device) -> int:
    """Memory that this process holds now: of the GPU if ``device`` is one, else what no file stands behind.

    0 where the system does not tell.
    """
    if device.type == "cuda":
        return process_bytes(device) or torch.cuda.memory_reserved(device)
    try:
        return anonymous_bytes()
    except OSError:
        return 0


def mapped_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of ``tensors`` that lie in a mapped file: weights that loading did not copy."""
    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in MAPS.read_text().splitlines()
        if line.endswith(".safetensors")
    ]
    storages = {
        plain.untyped_storage().data_ptr(): plain.untyped_storage().nbytes()
        for tensor in tensors
        for plain in _plain_tensors(tensor)
        if any(begin <= plain.data_ptr() < end for begin, end in ranges)
    }
    return sum(storages.values())


def resident_bytes_of(endings: Sequence[str]) -> int:
    """Bytes of mapped files whose names end in one of ``endings`` that are in memory now, for this process."""
    size, counted = 0, False
    for line in SMAPS.read_text().splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):  # a new range: addresses, and the file at the end
            counted = line.endswith(tuple(endings))
        elif counted and first == "Rss:":
            size += int(rest.split()[0]) * 1024
    return size


@contextmanager
def peak_of(phase: str, device: torch.device, found: list[Peak]) -> Iterator[None]:
    """Append to ``found`` the peaks of the code inside; on a CPU less the bytes held before.

    On CUDA those of `cuda_peaks`; on Linux's CPU the high-water mark of the resident size, reset at the start through
    ``/proc/self/clear_refs``. Nothing is appended if no peak can be read: see `absent_peaks`.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()  # memory that warm-up and timing reserved would count as this step's
        torch.cuda.reset_peak_memory_stats(device)
        yield
        torch.cuda.synchronize(device)
        found.extend(cuda_peaks(phase, device))
        return
    before = reset_high_water()
    yield
    if before is not None:
        found.append(_peak(phase, "rss", max(0, _status_bytes("VmHWM") - before)))


@contextmanager
def memory_limit(device: torch.device) -> Iterator[None]:
    """Refuse memory beyond what is free now: what needs more ends with an error of its own.

    Without a limit Linux ends the largest process of the machine, which may be someone else's. Nothing is done where
    the system does not tell what is free, and for a GPU: its driver maps address space that no memory stands behind.
    """
    free = available_bytes(device) if device.type == "cpu" else None
    if free is None:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _status_bytes("VmData") + free
    if before[1] != resource.RLIM_INFINITY:
        limit = min(limit, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def why_absent(device: torch.device) -> str | None:
    """Reason why no peak can be read on this device; None if it can."""
    if device.type == "cuda" or reset_high_water() is not None:
        return None
    return "the high-water mark of resident memory cannot be reset on this system"


def absent_peaks(device: torch.device) -> dict[str, str]:
    """Reasons of the peaks that cannot be read on this device, as a part of ``absent``."""
    if device.type == "cuda" and process_bytes(device) is None:
        return {"peaks.device_process": "NVML does not report the memory of this process, as in many containers"}
    reason = why_absent(device)
    return {"peaks": reason} if reason else {}


def cuda_peaks(phase: str, device: torch.device) -> list[Peak]:
    """Peaks of the allocator, of its reserve, and of this process by the driver, which must fit on the GPU.

    The last is read now, which is as good as a peak, since the allocator keeps its reserve.
    """
    sizes = {
        "cuda_allocated": torch.cuda.max_memory_allocated(device),
        "cuda_reserved": torch.cuda.max_memory_reserved(device),
        "device_process": process_bytes(device),
    }
    return [_peak(phase, kind, size) for kind, size in sizes.items() if size is not None]


def process_bytes(device: torch.device) -> int | None:
    """GPU memory of this process, its CUDA context and loaded kernels included; None if NVML does not report it.

    Inside a container NVML lists processes by their numbers on the host; a single one is this one.
    """
    import pynvml

    def held() -> int | None:
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle_of(device))
        ours = [process for process in running if process.pid == os.getpid() or len(running) == 1]
        return ours[0].usedGpuMemory if ours else None

    return ask(held) or None


def reset_high_water() -> int | None:
    """Reset the peak of resident memory. Returns the bytes resident now; None if it cannot be reset.

    Memory that the allocator keeps is returned first: a step that took from it would not show.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        PEAK_RESET.write_text("5")
    except OSError:
        return None
    return _status_bytes("VmRSS")


REPLAYED = "a replayed CUDA graph allocates nothing: its memory is a pool that was reserved when it was recorded"


def steady_peaks(step: Callable[[], object], device: torch.device, *, replayed: bool = False) -> list[Peak]:
    """Peaks of one warm step.

    Args:
        replayed: the step replays CUDA graphs. The allocator's peak then lacks their pools, and is left out.
    """
    found: list[Peak] = []
    with peak_of("steady", device, found):
        step()
    return [peak for peak in found if not (replayed and peak.kind == "cuda_allocated")]


def allocated_peak(step: Callable[[], object]) -> Peak:
    """Most bytes that torch's CPU allocator gave out at once during one warm ``step``, from the profiler's events."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as account:
        step()
    events = account.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == MEMORY_EVENT)
    held = itertools.accumulate(size for _, size in changes)
    return _peak("steady", "torch_allocated", max(0, *held))


def _peak(phase: str, kind: str, size: int) -> Peak:
    return Peak(phase=phase, kind=kind, bytes=size)  # type: ignore[arg-type]  # literals, checked where they are written


def _status_bytes(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{STATUS} has no {field}")
