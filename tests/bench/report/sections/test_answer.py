"""The first screen: its verdicts follow from the rows."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from bench.core.records import DeviceState, Divergence
from bench.report.printers.console import screen
from bench.report.printers.markdown import document
from bench.report.results import Route
from bench.report.sections.answer import answer, command_for, noise_words, routes_words, verdicts
from tests.bench.report.conftest import TRUTH

MANY = TRUTH * 40


def rows(make: Any, monkeypatch: Any) -> list[Any]:
    """A network at batch 1 and 32, bf16 the faster at 1 and fp32 compiled at 32; nf4 always slower."""
    monkeypatch.setattr("tests.bench.report.conftest.TRUTH", MANY)

    def row(milliseconds: float, batch_size: int, **changes: Any) -> Any:
        labels = {"labels": MANY, "batch_size": batch_size}
        return make.inference([milliseconds / 1e3] * 30, **{**labels, **changes})

    found = [row(4.0, 1), row(1.0, 1, precision="bf16", weight_bytes=87_252), row(9.0, 1, precision="nf4")]
    return [*found, row(40.0, 32), row(10.0, 32, mode="compiled"), row(90.0, 32, precision="nf4")]


def test_a_verdict_names_the_route_of_the_larger_batch_where_it_is_another(
    make: Any, content_of: Any, monkeypatch: Any
) -> None:
    (verdict,) = verdicts(content_of(*rows(make, monkeypatch)))
    assert (verdict.subject, verdict.route) == ("cnn_small", "PyTorch bf16 eager")
    assert {"4.0 × fp32 eager", "50 % of its bytes"} <= set(verdict.facts)
    assert verdict.warnings == ("At batch 32: PyTorch fp32 compiled, 4.0 ×",)


def test_a_verdict_of_one_measurement_tells_that_the_reference_was_disturbed(
    make: Any, content_of: Any, monkeypatch: Any
) -> None:
    reference, *others = rows(make, monkeypatch)[:3]
    busy = replace(reference, device_state=(DeviceState(at=1.0, foreign_cores=1.0),))
    (verdict,) = verdicts(content_of(busy, *others))
    assert verdict.warnings == (
        "Measured once, with fp32 eager marked (disturbed: other processes used 50 % of the CPU): measure it again",
    )


def test_what_is_always_slower_is_not_worth_it(make: Any, content_of: Any, monkeypatch: Any) -> None:
    text = document([answer(content_of(*rows(make, monkeypatch)))])
    assert re.search(r"Not worth it here: nf4 of classifiers \(slower than fp32 eager in 2 of 2 rows\)", text)


def test_an_untried_route_is_never_the_fastest(make: Any, content_of: Any) -> None:
    content = content_of(make.inference(), machine=make.machine(cpu_features=("avx512_bf16",)))
    (verdict,) = verdicts(content)
    assert verdict.route is None
    assert make.table(document([answer(content)]), "not tested")[0]["not tested"].startswith(
        "PyTorch fp32 compiled, bf16"
    )


def test_the_second_verdict_comes_within_ninety_words(make: Any, content_of: Any, monkeypatch: Any) -> None:
    text = document([answer(content_of(*rows(make, monkeypatch), make.decode(), make.decode(5.0, precision="bf16")))])
    before = text[: text.index("- smollm2-135m")]
    assert len(before.split()) <= 90


def test_the_console_shows_the_same_verdicts(make: Any, content_of: Any, monkeypatch: Any) -> None:
    content = content_of(*rows(make, monkeypatch))
    assert "cnn_small: PyTorch bf16 eager. Fastest of 3 tried" in " ".join(screen(answer(content)).split())


def test_twins_say_how_good_ratios_are(make: Any, content_of: Any) -> None:
    twin = make.in_turns([[1.01] * 3, [0.99] * 3, [1.0] * 3], options=(("twin", True),))
    words = noise_words(content_of(make.in_turns([[1.0] * 3] * 3), twin))
    assert re.fullmatch(r"ratios are good to ±\d+ %", words)
    assert "50 % apart" in noise_words(content_of(make.noise("a", 1.0), make.noise("b", 1.5)))
    assert noise_words(content_of(make.inference())) == "noise not measured"


@pytest.mark.parametrize(("megabytes", "said"), [((10, 30), True), ((10, 12), False), ((30, 10), False)])
def test_a_step_that_takes_megabytes_more_is_a_warning(
    make: Any, content_of: Any, monkeypatch: Any, megabytes: tuple[int, int], said: bool
) -> None:
    from bench.core.records import Peak

    def peaks(size: int) -> Any:
        return (Peak(phase="steady", kind="rss", bytes=size * 1_000_000),)

    monkeypatch.setattr("tests.bench.report.conftest.TRUTH", MANY)
    pair = [make.inference([0.004] * 30, labels=MANY, peaks=peaks(megabytes[0]))]
    pair += [make.inference([0.001] * 30, labels=MANY, precision="bf16", peaks=peaks(megabytes[1]))]
    (verdict,) = verdicts(content_of(*pair))
    assert any("fp32's memory" in warning for warning in verdict.warnings) is said


def test_a_smoke_run_has_no_verdict(make: Any, content_of: Any) -> None:
    text = document([answer(content_of(make.inference(budget="smoke"), budget="smoke"))])
    assert "SMOKE RUN" in text
    assert "|" not in text


def test_routes_and_the_command_that_tests_them(make: Any, content_of: Any) -> None:
    routes = [Route("openvino", "bf16", "native"), Route("openvino", "int8_static", "native")]
    assert (
        routes_words([*routes, Route("torch", "bf16", "compiled")])
        == "OpenVINO bf16, int8_static; PyTorch bf16 compiled"
    )
    ((choice,),) = content_of(make.inference(model="my net.py:f")).networks
    command = command_for([choice], "inference")
    assert command is not None
    assert command.startswith("nox -s bench -- -k inference --models 'my net.py:f' --runtimes torch,onnxruntime")
    assert command.endswith("--modes eager,compiled --batch-sizes 1")


def test_a_network_with_classes_of_its_own_is_said_to_keep_its_labels(make: Any, content_of: Any) -> None:
    divergence = Divergence(kl_mean=0.01, kl_standard_error=0.001, kl_p99=0.2, same_top=0.97, samples=32)
    own = {"accuracy": None, "labels": None}
    faster = make.inference([0.0005] * 30, precision="bf16", divergence=divergence, **own)
    (verdict,) = verdicts(content_of(make.inference([0.002] * 30, **own), faster))
    assert verdict.facts[0] == "Fastest of 2 tried, quality not judged: its classes are not the data set's"
    assert "same label in 97.0 %" in verdict.facts
