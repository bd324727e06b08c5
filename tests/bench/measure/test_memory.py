"""Bytes of weights equal arithmetic; a peak counts a step and not what was held before."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch
from torch import nn

from bench.core.records import Peak
from bench.measure import memory

CPU = torch.device("cpu")
MEGABYTE = 1_000_000


def test_weight_bytes_are_parameters_and_buffers() -> None:
    network = nn.Sequential(nn.Linear(10, 20), nn.BatchNorm1d(20))
    floats = 10 * 20 + 20 + 4 * 20  # weight, bias; scale, shift, running mean and variance
    assert memory.weight_bytes(network) == 4 * floats + 8  # and a 64-bit count of batches


def test_a_shared_weight_counts_once() -> None:
    first, second = nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)
    second.weight = first.weight
    assert memory.weight_bytes(nn.Sequential(first, second)) == 400


def test_half_the_bits_are_half_the_bytes() -> None:
    assert memory.weight_bytes(nn.Linear(10, 10, bias=False).bfloat16()) == 200


def test_serialized_bytes_hold_the_weights_and_little_more() -> None:
    network = nn.Linear(1000, 100)
    weights = memory.weight_bytes(network)
    assert weights < memory.serialized_bytes(network) < weights + 4000


@pytest.mark.skipif(memory.reset_high_water() is None, reason="/proc/self/clear_refs cannot be written here")
class TestPeak:
    def test_a_step_that_takes_memory_and_gives_it_back_shows(self) -> None:
        [peak] = memory.steady_peaks(lambda: torch.ones(25 * MEGABYTE), CPU)
        assert (peak.phase, peak.kind) == ("steady", "rss")
        assert 99 * MEGABYTE < peak.bytes < 115 * MEGABYTE

    def test_what_was_there_before_does_not(self) -> None:
        held = torch.ones(25 * MEGABYTE)
        [peak] = memory.steady_peaks(lambda: None, CPU)
        assert peak.bytes < 10 * MEGABYTE
        assert len(held)

    def test_an_earlier_peak_does_not(self) -> None:
        torch.ones(50 * MEGABYTE)
        gc.collect()
        [peak] = memory.steady_peaks(lambda: torch.ones(5 * MEGABYTE), CPU)
        assert peak.bytes < 40 * MEGABYTE

    def test_a_small_step_shows_too(self) -> None:
        """The allocator keeps small blocks; unless they are given back first, a second step would seem to take none."""

        def step() -> list[torch.Tensor]:
            return [torch.ones(2000) for _ in range(500)]

        step()
        [peak] = memory.steady_peaks(step, CPU)
        assert peak.bytes > 3 * MEGABYTE


def test_peak_of_appends_nothing_where_nothing_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "reset_high_water", lambda: None)
    found: list[Peak] = []
    with memory.peak_of("load", CPU, found):
        pass
    assert found == []
    assert "cannot be reset" in str(memory.why_absent(CPU))


def test_growth_of_anonymous_memory_is_what_was_held_at_most_and_at_the_end() -> None:
    with memory.anonymous_growth() as held:
        large, kept = (torch.ones(MEGABYTE * count // 4) for count in (60, 20))
        time.sleep(0.05)
        del large
    assert held.most == pytest.approx(80 * MEGABYTE, rel=0.1)
    assert held.last == pytest.approx(20 * MEGABYTE, rel=0.2)
    assert len(kept)


def grow() -> memory.Held:
    with memory.anonymous_growth() as held:
        block = bytearray(b"1" * 30 * MEGABYTE)
    assert len(block) == 30 * MEGABYTE
    return held


def fail() -> memory.Held:
    os._exit(3)


def ask_apart(work: Callable[[], memory.Held], pipe: Connection) -> None:
    """Hold 60 MB, then ask the child that was forked before."""
    with memory.apart(work) as ask:
        ours = bytearray(b"2" * 60 * MEGABYTE)
        pipe.send(ask())
        assert len(ours) == 60 * MEGABYTE
    pipe.send(multiprocessing.active_children())


def asked(work: Callable[[], memory.Held]) -> memory.Held | str:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    worker = context.Process(target=ask_apart, args=(work, there))
    worker.start()
    found: memory.Held | str = here.recv()
    assert here.recv() == []
    worker.join()
    return found


def test_a_child_tells_what_its_own_work_holds() -> None:
    found = asked(grow)
    assert isinstance(found, memory.Held)
    assert 29 * MEGABYTE < found.last < 33 * MEGABYTE
    assert found.last <= found.most < 65 * MEGABYTE


def test_a_child_that_crashes_costs_its_figure_alone() -> None:
    assert asked(fail) == "the child that measured memory ended early; its log has the reason"


def test_nothing_is_forked_outside_of_a_worker() -> None:
    with memory.apart(fail) as ask:
        assert ask() == "measured only in a worker process that can fork another one"


def test_weights_that_lie_in_their_file_are_told_from_copies(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(4 * 1000))
    mapped = torch.from_file(str(file), shared=False, size=1000)
    assert memory.mapped_bytes([mapped, mapped, mapped.clone()]) == 4000


CUDA = torch.device("cuda")
OURS, OTHER = os.getpid(), os.getpid() + 1


@pytest.mark.parametrize(
    ("running", "told"),
    [
        ([(OTHER, 5), (OURS, 7)], 7),
        ([(OTHER, 5)], 5),  # in a container, where numbers are the host's
        ([(OTHER, 5), (OTHER + 1, 7)], None),
        ([(OURS, None)], None),
        ([(OURS, 0)], None),
        ([], None),
        (None, None),
    ],
)
def test_what_the_driver_counts_for_this_process(
    monkeypatch: pytest.MonkeyPatch, running: list[tuple[int, int | None]] | None, told: int | None
) -> None:
    def processes(handle: object) -> list[Any]:
        if running is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in running]

    monkeypatch.setattr(memory, "handle_of", lambda device: "handle")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", processes)
    assert memory.process_bytes(CUDA) == told
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 2)
    sizes = {peak.kind: peak.bytes for peak in memory.cuda_peaks("steady", CUDA)}
    expected = {"cuda_allocated": 1, "cuda_reserved": 2}
    assert sizes == (expected if told is None else {**expected, "device_process": told})
    assert list(memory.absent_peaks(CUDA)) == (["peaks.device_process"] if told is None else [])


def test_memory_beyond_what_is_free_is_refused_inside_of_the_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**28)
    with memory.memory_limit(torch.device("cpu")):
        assert bytearray(2**26)
        with pytest.raises(MemoryError):
            bytearray(2**29)
    with memory.memory_limit(CUDA):  # whose driver maps more addresses than there is memory
        assert bytearray(2**29)


def test_the_allocators_peak_is_what_is_held_at_once() -> None:
    def step() -> None:
        first = torch.ones(1_000_000)
        second = first + 1  # both are held here
        del first
        torch.ones(500_000).add_(second[:500_000])

    peaks = [memory.allocated_peak(step) for _ in range(2)]
    assert peaks[0] == peaks[1]
    assert (peaks[0].phase, peaks[0].kind) == ("steady", "torch_allocated")
    assert 8_000_000 <= peaks[0].bytes < 8_000_100  # the number 1 is a tensor as well


def test_a_replayed_graph_has_no_peak_of_the_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("cuda_allocated", "cuda_reserved", "device_process")

    @contextmanager
    def peak_of(phase: str, device: torch.device, found: list[Peak]) -> Iterator[None]:
        yield
        found.extend(Peak(phase="steady", kind=kind, bytes=1) for kind in kinds)  # type: ignore[arg-type]

    monkeypatch.setattr(memory, "peak_of", peak_of)
    device = torch.device("cuda")
    assert [peak.kind for peak in memory.steady_peaks(lambda: None, device)] == list(kinds)
    assert [peak.kind for peak in memory.steady_peaks(lambda: None, device, replayed=True)] == list(kinds[1:])
