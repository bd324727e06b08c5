from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.core.records import DeviceState, Figure, Measurement
from bench.report.frame import rows_of, tidy
from bench.report.rows import SPEED, figure, side_of_one, throughput


def test_repeats_are_joined_by_the_row_of_their_case(make: Any, run_of: Any) -> None:
    repeats = [make.inference([0.001 * (2 + repeat)] * 30, repeat=repeat) for repeat in range(2)]
    frame = tidy([run_of(*repeats, make.inference(batch_size=8))])
    assert len(frame) == 2
    row = rows_of(frame, "inference")[0]
    assert (row["repeats"], row["samples"], row["row"]) == (2, 60, repeats[1].case.row)
    assert row["median [s]"] == pytest.approx(0.0025)
    assert (row["median from [s]"], row["median to [s]"]) == (0.002, 0.003)
    assert row["worker time [s]"] == 3.0


def test_a_slow_phase_is_that_of_a_machine(make: Any, run_of: Any) -> None:
    """Held against the quickest of that machine, in all of its files; another machine may be slower for good."""

    def paced(seconds: float, **changes: Any) -> Measurement:
        states = (DeviceState(at=0.0, reference_seconds=seconds),)
        measured: Measurement = make.inference(device_state=states, **changes)
        return measured

    here = run_of(paced(1.0), paced(1.25, batch_size=8), name="here.json")
    later = run_of(paced(1.5, batch_size=4), name="later.json")
    there = run_of(paced(1.5), name="there.json", machine=make.machine(cores=64))
    found = {
        (row["machine"], row["batch size"]): row["disturbed"]
        for row in rows_of(tidy([here, later, there]), "inference")
    }
    slow = [size for (_, size), told in found.items() if told == "slow phase: reference work took 1.5 times its best"]
    assert slow == [4]
    assert sum(told is None for told in found.values()) == 3


def blocks_of(make: Any, seconds: float, *, steps: int = 10, **changes: Any) -> Measurement:
    """Six blocks of ``steps`` images each."""
    series = {"block_seconds": tuple(seconds + index * 1e-6 for index in range(6))}
    figures = {"throughput": steps / (seconds + 2.5e-6), "steps_per_block": steps, **changes.pop("figures", {})}
    found: Measurement = make.inference(series=series, figures=figures, **changes)
    return found


def test_throughput_is_that_of_all_processes(make: Any, run_of: Any) -> None:
    """One took 0.1 s for ten images, one 0.2 s, and one 0.3 s for twice as many."""
    repeats = [
        blocks_of(make, seconds, steps=steps, repeat=repeat)
        for repeat, (seconds, steps) in enumerate([(0.1, 10), (0.2, 10), (0.3, 20)])
    ]
    (row,) = rows_of(tidy([run_of(*repeats)]), "inference")
    found = throughput(row)
    assert found is not None
    assert found.value == pytest.approx(1 / 0.015, rel=1e-3)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((50, 100), rel=1e-3)
    assert figure(row, "throughput") == found.value


def test_throughput_of_one_process_is_as_it_was_counted(make: Any, run_of: Any) -> None:
    (row,) = rows_of(tidy([run_of(blocks_of(make, 0.1))]), "inference")
    found = throughput(row)
    assert found is not None
    assert found.value == 10 / (0.1 + 2.5e-6)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((10 / 0.100005, 10 / 0.1))


def test_processes_without_blocks_have_the_median_of_their_throughputs(make: Any, run_of: Any) -> None:
    repeats = [make.inference(figures={"throughput": 100 * (1 + repeat)}, repeat=repeat) for repeat in range(3)]
    (row,) = rows_of(tidy([run_of(*repeats)]), "inference")
    found = throughput(row)
    assert found is not None
    assert found.value == pytest.approx(200)


def test_energy_is_the_median_of_the_processes_that_have_it(make: Any, run_of: Any) -> None:
    energies = (None, 0.1, 0.2, 0.9)
    repeats = [
        dataclasses.replace(make.inference(repeat=repeat), energy_joules_per_item=joules)
        for repeat, joules in enumerate(energies)
    ]
    assert rows_of(tidy([run_of(*repeats)]), "inference")[0]["energy [J/item]"] == 0.2


def test_the_criterion_is_met_where_every_process_met_it(make: Any, run_of: Any) -> None:
    repeats = [make.inference(repeat=repeat, figures={"criterion_met": 1.0 - repeat}) for repeat in range(2)]
    assert figure(rows_of(tidy([run_of(*repeats)]), "inference")[0], "criterion_met") == 0.0


@pytest.mark.parametrize(
    ("ours", "theirs", "side"), [(1, 1, "across"), (2, 1, "across"), (1, 2, "across"), (2, 2, "above")]
)
def test_a_ratio_of_rows_shows_by_intervals_alone_only_where_both_have_processes(
    make: Any, run_of: Any, ours: int, theirs: int, side: str
) -> None:
    """Five per cent apart: less than two processes of the same thing may be."""
    baseline = [make.inference([0.0105] * 30, repeat=repeat) for repeat in range(theirs)]
    faster = [make.inference([0.0100] * 30, precision="bf16", repeat=repeat) for repeat in range(ours)]
    rows = rows_of(tidy([run_of(*baseline, *faster)]), "inference")
    (row,) = [row for row in rows if row["precision"] == "bf16"]
    assert side_of_one(row, SPEED) == side


def test_the_same_file_twice_counts_once(make: Any, run_of: Any) -> None:
    measurement = make.inference()
    frame = tidy([run_of(measurement), run_of(measurement, name="copy.json")])
    assert rows_of(frame, "inference")[0]["repeats"] == 1


@pytest.mark.parametrize("change", ["machine", "fingerprint", "dataset"])
def test_other_machines_code_and_data_are_not_joined(make: Any, run_of: Any, change: str) -> None:
    suite = {
        "machine": {"machine": make.machine(python="3.12.0")},
        "fingerprint": {"fingerprint": "another"},
        "dataset": {"datasets": [make.dataset(digest="another")]},
    }[change]
    frame = tidy([run_of(make.inference()), run_of(make.inference([0.002] * 30), name="other.json", **suite)])
    column = {"fingerprint": "code"}.get(change, change)
    assert list(frame["repeats"]) == [1, 1]
    assert frame[column].nunique() == 2


def test_a_name_for_machine_data_and_nothing_else(make: Any, run_of: Any) -> None:
    unknown = make.inference(dataset="/elsewhere/flowers")
    row, other = rows_of(tidy([run_of(make.inference(), unknown)]), "inference")
    assert (row["machine"], row["code"], row["dataset"], other["dataset"]) == ("M1", None, "cifar10-jpeg", "flowers")


def test_speed_ups_pair_rows_that_differ_in_nothing_else(make: Any, run_of: Any) -> None:
    rows = [
        make.inference([0.004] * 30),
        make.inference([0.002] * 30, mode="compiled"),
        make.inference([0.001] * 30, mode="compiled", precision="int8"),
        make.inference([0.008] * 30, mode="compiled", batch_size=2),
    ]
    frame = tidy([run_of(*rows)]).set_index(["precision", "mode", "batch size"])
    eager, same = frame["speed-up over fp32 eager [1]"], frame["speed-up over fp32 same mode [1]"]
    assert eager["fp32", "compiled", 1] == pytest.approx(2.0)
    assert eager["int8", "compiled", 1] == pytest.approx(4.0)
    assert same["int8", "compiled", 1] == pytest.approx(2.0)
    assert eager["fp32", "compiled", 2] is None


def test_repeats_that_ought_to_agree_and_do_not_are_named(make: Any, run_of: Any) -> None:
    def counted(repeat: int, breaks: float) -> Measurement:
        made: Measurement = make.inference(repeat=repeat, weight_bytes=1_000 + repeat)
        return dataclasses.replace(made, figures={"graph_breaks": Figure(value=breaks, unit="breaks", exact=True)})

    row = rows_of(tidy([run_of(counted(0, 1), counted(1, 2))]), "inference")[0]
    assert row["repeats differ in"] == "weights, serialised size, graph_breaks"


def test_eager_fp32_comes_before_what_is_compared_with_it(make: Any, run_of: Any) -> None:
    rows = [make.inference(mode=mode, precision=name) for mode in ("compiled", "eager") for name in ("bf16", "fp32")]
    frame = tidy([run_of(*rows)])
    assert list(zip(frame["precision"], frame["mode"], strict=True)) == [
        ("fp32", "eager"),
        ("fp32", "compiled"),
        ("bf16", "eager"),
        ("bf16", "compiled"),
    ]
