"""Records go to JSON and come back the same; what is no measured number does not get in."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from bench.core.records import (
    Case,
    Cold,
    Coverage,
    DeviceState,
    Failure,
    Figure,
    Measurement,
    Peak,
    Predictions,
    Quality,
    Turn,
    from_json,
    outcome_from_json,
    to_json,
)


def a_case(**changes: Any) -> Case:
    fields = {
        "experiment": "inference",
        "model": "cnn_small",
        "dataset": "mnist5k",
        "image_size": 32,
        "device": "cpu",
        "threads": 2,
        "budget": "smoke",
        "options": (("classes", 10), ("weights", None)),
    }
    return Case(**{**fields, **changes})


def a_measurement(**changes: Any) -> Measurement:
    fields = {
        "case": a_case(),
        "seconds": (0.1, 0.2),
        "device_seconds": (0.05, 0.06),
        "cold": Cold(load=1.5),
        "peaks": (Peak(phase="steady", kind="rss", bytes=12),),
        "coverage": Coverage(quantized_parameters=1, total_parameters=2, quantized_flops=3, total_flops=4),
        "quality": Quality(
            metric="accuracy",
            value=0.5,
            standard_error=0.1,
            samples=25,
            predictions=Predictions(path="predictions/a.txt", sha256="0" * 64),
        ),
        "flags": {"threads": 2, "tf32": False, "omp": None},
        "device_state": (DeviceState(at=0.0, clock_hz=1e9),),
        "figures": {"throughput": Figure(value=10, unit="images/s", better="higher")},
        "series": {"train_loss": (2.0, 1.0)},
        "absent": {"energy_joules_per_item": "no counter"},
        "notes": ("a note",),
    }
    return Measurement(**{**fields, **changes})


@pytest.mark.parametrize(
    "record",
    [a_measurement(), Failure(case=a_case(), kind="timed_out", message="slow")],
    ids=lambda record: type(record).__name__,
)
def test_outcome_survives_json(record: Any) -> None:
    text = json.dumps(to_json(record), allow_nan=False)
    assert outcome_from_json(json.loads(text)) == record


def test_id_tells_repeats_apart_and_row_joins_them() -> None:
    first, second = a_case(repeat=0), a_case(repeat=1)
    assert first.id != second.id
    assert first.row == second.row
    assert a_case(batch_size=2).row != first.row


def test_id_is_the_same_on_every_machine() -> None:
    assert a_case().id == "5a9f957dbe8f5e2a"
    assert a_case().id == from_json(Case, json.loads(json.dumps(to_json(a_case())))).id


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Case) if field.name != "options"])
def test_every_field_of_a_case_shapes_its_id(field: str) -> None:
    other: Any = {int: 7, str: "other"}[type(getattr(a_case(recipe="r", pipeline="p"), field))]
    assert (
        dataclasses.replace(a_case(recipe="r", pipeline="p"), **{field: other}).id
        != a_case(recipe="r", pipeline="p").id
    )


def test_its_name_can_be_read_and_is_a_folder() -> None:
    network = a_case(model="my/networks.py:Net-1", mode="compiled", precision="nf4", batch_size=8, image_size=32)
    assert network.name == "inference-Net_1-32px-nf4-compiled-b8"
    spoken = a_case(experiment="prefill", model="OWNER/Some-8B/", image_size=0, options=(("prompt_tokens", 128),))
    assert spoken.name == f"prefill-Some_8B-fp32-eager-b{spoken.batch_size}-prompt_tokens_128"
    trained = a_case(experiment="training", recipe="note4", pipeline="tensor", seed=3, image_size=32, batch_size=1)
    assert trained.name == f"training-{trained.model}-note4-tensor-s3-32px-fp32-eager-b1"
    assert a_case(repeat=0).name == a_case(repeat=1).name
    assert a_case(runtime="openvino").name == a_case().name.replace("-fp32-", "-openvino-fp32-")
    assert "/" not in a_case(options=(("variant", "../up"),)).name


def test_options_must_be_sorted() -> None:
    with pytest.raises(ValueError, match="sorted pairs"):
        a_case(options=(("b", 1), ("a", 2)))


@pytest.mark.parametrize("sample", [0.0, -1.0, math.nan, math.inf])
def test_a_sample_is_a_positive_finite_time(sample: float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        a_measurement(seconds=(0.1, sample))


def test_every_sample_of_a_row_belongs_to_one_turn() -> None:
    turns = (Turn(set=0, round=0, samples=2, reference_seconds=0.5), Turn(set=0, round=1, samples=1))
    taken = Measurement(case=a_case(), seconds=(0.1, 0.2, 0.3), turns=turns)
    assert from_json(Measurement, json.loads(json.dumps(to_json(taken)))).turns == turns
    with pytest.raises(ValueError, match="belongs to one"):
        Measurement(case=a_case(), seconds=(0.1, 0.2), turns=turns)


def test_no_sample_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="took no sample"):
        a_measurement(seconds=())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_do_not_get_into_json(value: float) -> None:
    with pytest.raises(ValueError, match="not a measured number"):
        to_json(a_measurement(figures={"x": Figure(value=value, unit="s")}))


def test_other_types_do_not_get_into_json() -> None:
    with pytest.raises(ValueError, match="does not go into JSON"):
        to_json({"a": object()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": "fast"}, "not of type float"),
        ({"items_per_step": True}, "not of type int"),
        ({"surprise": 1}, "unknown field surprise"),
        ({"peaks": [{"phase": "middle", "kind": "rss", "bytes": 1}]}, "middle"),
    ],
)
def test_what_is_of_another_type_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(Measurement, {**to_json(a_measurement()), **change})


def test_a_missing_field_is_refused() -> None:
    value = to_json(a_measurement())
    del value["case"]["model"]
    with pytest.raises(ValueError, match="model"):
        from_json(Measurement, value)
