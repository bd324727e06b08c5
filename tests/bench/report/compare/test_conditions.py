from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.core.records import DeviceState, Measurement

VERSIONS = {
    "torch": "2.14.1",
    "numpy": "2.4.6",
    "torchvision": "1",
    "triton": "1",
    "torchao": "1",
    "transformers": "1",
    "pytest": "1",
}


def names(comparison: Any) -> list[str]:
    return [item.name for item in comparison.differences]


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("device", {"device_name": "Another GPU"}),
        ("device memory [B]", {"device_memory_bytes": 1}),
        ("CPU", {"cpu": "Another CPU"}),
        ("cores", {"cores": 4}),
        ("CPU features", {"cpu_features": ("avx2", "avx512f")}),
        ("driver", {"driver": "600.1"}),
        ("CUDA", {"cuda": "13.0"}),
        ("Python", {"python": "3.12.1"}),
        ("torch", {"versions": {"torch": "2.15.0", "numpy": "2.4.6"}}),
    ],
)
def test_another_machine_is_not_comparable(make: Any, compared: Any, name: str, fact: dict[str, Any]) -> None:
    both = [make.inference()]
    comparison = compared(both, both, new={"machine": make.machine(**fact)})
    assert names(comparison) == [name]
    assert comparison.refused
    assert comparison.status == 2
    assert comparison.differences[0].old != comparison.differences[0].new


@pytest.mark.parametrize(
    "fact",
    [{"memory_bytes": 8_000_000_001}, {"platform": "Linux-7"}, {"python": "3.11.9"}, {"cpu_features": ["avx2"]}],
)
def test_what_differs_from_start_to_start_is_no_condition(make: Any, compared: Any, fact: dict[str, Any]) -> None:
    both = [make.inference()]
    assert not compared(both, both, new={"machine": make.machine(**fact)}).refused


def test_clock_readings_are_no_condition(make: Any, compared: Any) -> None:
    def read(hertz: float) -> Measurement:
        return replace(make.inference(), device_state=(DeviceState(at=0.0, clock_hz=hertz, celsius=hertz / 1e8),))

    assert not compared([read(2e9)], [read(3e9)]).refused


@pytest.mark.parametrize(
    ("package", "change"),
    [
        ("pytest", None),
        ("torchvision", {}),
        ("torchvision", {"experiment": "loading"}),
        ("torchvision", {"experiment": "ladder"}),
        ("triton", {"mode": "compiled"}),
        ("torchao", {"library": "torchao"}),
        ("transformers", {"experiment": "prefill"}),
        ("C++ compiler", {"mode": "compiled"}),
        ("cuDNN", {"device": "cuda"}),
        ("nncf", {"runtime": "openvino", "mode": "native"}),
    ],
)
def test_versions_matter_to_the_cases_that_use_them(
    make: Any, compared: Any, package: str, change: dict[str, str] | None
) -> None:
    suites = [{"machine": make.machine(versions={**VERSIONS, package: version})} for version in ("2.14.1", "2.14.2")]
    layer = [make.layer(dataset="random")]
    assert names(compared(layer, layer, old=suites[0], new=suites[1])) == []
    if change is None:
        return
    if change.get("experiment") == "prefill":
        using = make.prefill()
    elif "library" in change:
        using = replace(make.layer(precision="int8", dataset="random"), flags={"library": "torchao"})
    else:
        using = make.inference()
        using = replace(using, case=replace(using.case, **change))
    assert names(compared([*layer, using], [*layer, using], old=suites[0], new=suites[1])) == [package]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("threads", 4), ("matmul_tf32", True), ("compute", "bfloat16"), ("environment", "ATEN_CPU_CAPABILITY=default")],
)
def test_number_formats_and_threads_are_conditions(make: Any, compared: Any, flag: str, value: Any) -> None:
    old = [make.inference(batch_size=size) for size in (1, 8)]
    new = [replace(item, flags={**item.flags, flag: value}) for item in old]
    comparison = compared(old, new)
    assert names(comparison) == [f"flag {flag}"]
    assert comparison.differences[0].cases == 2
    assert comparison.differences[0].new == str(value)


def test_other_flags_are_no_conditions(make: Any, compared: Any) -> None:
    old = make.inference()
    assert not compared([old], [replace(old, flags={**old.flags, "attention": "eager"})]).refused


def test_a_case_that_failed_has_no_flags_to_differ(make: Any, compared: Any) -> None:
    assert names(compared([make.inference()], [make.failure("crashed", "why")])) == []


@pytest.mark.parametrize(("name", "value"), [("threads", 4), ("budget", "full"), ("device", "cuda:0")])
def test_settings_of_a_whole_run_are_conditions(make: Any, compared: Any, name: str, value: Any) -> None:
    comparison = compared([make.inference()], [make.inference(**{name: value})])
    assert names(comparison) == [name]
    assert (comparison.differences[0].new, comparison.differences[0].cases) == (str(value), 1)


def test_other_data_are_not_comparable(make: Any, compared: Any) -> None:
    both = [make.inference()]
    comparison = compared(both, both, new={"datasets": [make.dataset(digest="f" * 16)]})
    assert names(comparison) == ["data set cifar10-jpeg, digest"]
    told = compared(both, both, new={"datasets": []}, anyway=True)
    assert told.differences[0].new is None
    assert told.status == 0


@pytest.mark.parametrize(
    ("option", "name"),
    [("text_digest", "text python-topics, digest"), ("model_digest", "model smollm2-135m, digest")],
)
def test_other_texts_and_models_are_not_comparable(make: Any, compared: Any, option: str, name: str) -> None:
    old, new = (make.prefill(options={option: digest}) for digest in ("a1", "b2"))
    assert names(compared([old], [new])) == [name]


def test_refused_runs_are_compared_if_asked(make: Any, compared: Any) -> None:
    suite = {"machine": make.machine(cores=4)}
    old, new = [make.inference(weight_bytes=1000)], [make.inference(weight_bytes=2000)]
    assert compared(old, new, new=suite).exact == ()
    comparison = compared(old, new, new=suite, anyway=True)
    assert len(comparison.exact) == 2
    assert comparison.status == 1
