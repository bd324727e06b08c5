from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.records import Figure, Measurement
from bench.report.frame import rows_of, tidy


def test_repeats_are_joined_by_the_row_of_their_case(make: Any, run_of: Any) -> None:
    repeats = [make.inference([0.001 * (2 + repeat)] * 30, repeat=repeat) for repeat in range(2)]
    frame = tidy([run_of(*repeats, make.inference(batch_size=8))])
    assert len(frame) == 2
    row = rows_of(frame, "inference")[0]
    assert (row["repeats"], row["samples"], row["row"]) == (2, 60, repeats[1].case.row)
    assert row["median [s]"] == pytest.approx(0.0025)
    assert (row["median from [s]"], row["median to [s]"]) == (0.002, 0.003)
    assert row["worker time [s]"] == 3.0


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
