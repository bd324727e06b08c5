"""The pick: fastest of what was tried and is as accurate; what was not tried is named."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report.choosing import CLASSIFIERS, LANGUAGES
from bench.report.results import Route
from bench.report.statistics import Estimate
from tests.bench.report.conftest import TRUTH

VNNI = ("avx512f", "avx512_vnni", "avx512_bf16")
MANY = TRUTH * 40
LABELS = {"labels": MANY}


@pytest.fixture
def judged(make: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rows judged on 400 images: so many are enough to be as accurate."""
    monkeypatch.setattr("tests.bench.report.conftest.TRUTH", MANY)

    def judged(milliseconds: float, wrong: int = 0, **changes: Any) -> Any:
        labels = [(label + 1) % 10 if place < wrong else label for place, label in enumerate(MANY)]
        return make.inference([milliseconds / 1e3] * 30, labels=labels, **changes)

    return judged


def choice_of(content: Any, batch: int = 1) -> Any:
    (choices,) = content.networks
    return next(choice for choice in choices if choice.batch == batch)


def test_the_fastest_as_accurate_is_picked_and_the_faster_one_is_told(judged: Any, content_of: Any) -> None:
    rows = [judged(4.0), judged(1.0, wrong=60, precision="nf4"), judged(2.0, precision="bf16")]
    choice = choice_of(content_of(*rows))
    assert choice.pick.route == Route("torch", "bf16", "eager")
    assert [one.route.precision for one in choice.faster] == ["nf4"]
    assert {one.route.precision: one.judgement.word for one in choice.candidates} == {
        "fp32": "reference",
        "bf16": "as accurate",
        "nf4": "less accurate",
    }


def test_of_routes_about_as_fast_the_smaller_is_picked(judged: Any, content_of: Any) -> None:
    rows = [judged(4.0), judged(2.0, precision="bf16"), judged(2.04, precision="int8_static", weight_bytes=50_000)]
    assert choice_of(content_of(*rows)).pick.route.precision == "int8_static"
    slower = [*rows[:2], judged(2.2, precision="int8_static", weight_bytes=50_000)]
    assert choice_of(content_of(*slower)).pick.route.precision == "bf16"


def test_routes_that_took_turns_are_compared_by_them(make: Any, content_of: Any, judged: Any) -> None:
    """bf16 has the lower p50, since most of its samples are of a time in which the machine was quicker."""
    rows = [
        make.in_turns([[1.0] * 3] * 3, seconds=0.004, **LABELS),
        make.in_turns([[3.0] * 3] * 3, seconds=0.006, precision="int8_static", **LABELS),
        make.in_turns([[2.5] * 3] * 3, seconds=0.004, precision="bf16", **LABELS),
    ]
    choice = choice_of(content_of(*rows))
    assert [one.route.precision for one in choice.candidates] == ["int8_static", "bf16", "fp32"]
    assert choice.pick.route.precision == "int8_static"


def test_too_few_images_pick_nothing_but_the_reference(make: Any, content_of: Any) -> None:
    rows = [make.inference([0.004] * 30, labels=TRUTH), make.inference([0.001] * 30, labels=TRUTH, precision="bf16")]
    choice = choice_of(content_of(*rows))
    assert choice.pick.route.is_reference
    assert choice.candidates[0].judgement.open
    assert choice.candidates[0].judgement.needed is not None


def test_untrained_networks_have_a_fastest_that_is_not_judged(make: Any, content_of: Any) -> None:
    told = {"absent": {"quality": "not trained"}, "accuracy": None}
    rows = [make.inference([0.004] * 30, **told), make.inference([0.001] * 30, precision="bf16", **told)]
    choice = choice_of(content_of(*rows))
    assert (choice.pick.route.precision, choice.judged) == ("bf16", False)


def test_what_hardly_converted_is_never_picked(judged: Any, content_of: Any) -> None:
    rows = [judged(4.0), judged(1.0, precision="nf4", bits=(4, 32), shares=(0.004, 0.0))]
    assert choice_of(content_of(*rows)).pick.route.is_reference


def test_untried_routes_are_named_and_unsupported_ones_are_not(judged: Any, make: Any, content_of: Any) -> None:
    machine = make.machine(cpu_features=VNNI)
    failed = make.failure("unsupported", "no", runtime="openvino", precision="bf16", mode="native")
    choice = choice_of(content_of(judged(4.0), judged(2.0, mode="compiled"), failed, machine=machine))
    assert set(choice.untested) == set(CLASSIFIERS) - {
        Route("torch", "fp32", "compiled"),
        Route("openvino", "bf16", "native"),
    }


def test_bf16_is_missed_only_where_the_processor_has_it(judged: Any, content_of: Any) -> None:
    assert not any(route.precision == "bf16" for route in choice_of(content_of(judged(4.0))).untested)


def test_batch_sizes_have_choices_of_their_own(judged: Any, content_of: Any) -> None:
    rows = [judged(4.0), judged(2.0, precision="bf16")]
    rows += [judged(40.0, batch_size=32), judged(50.0, precision="bf16", batch_size=32)]
    content = content_of(*rows)
    assert choice_of(content).pick.route.precision == "bf16"
    assert choice_of(content, 32).pick.route.is_reference


def test_the_twin_of_the_reference_is_no_candidate(judged: Any, content_of: Any) -> None:
    choice = choice_of(content_of(judged(4.0), judged(3.0, options=(("twin", True),))))
    assert len(choice.candidates) == 1


def test_a_language_model_goes_by_its_perplexity(make: Any, content_of: Any) -> None:
    nats = [(2.0 + 0.01 * (place % 7)) * 100 for place in range(40)]

    def scored(factor: float, **changes: Any) -> Any:
        return make.perplexity([factor * value for value in nats], [100] * 40, **changes)

    rows = [make.decode(40.0), make.decode(20.0, precision="bf16"), make.decode(5.0, precision="nf4")]
    rows += [scored(1.0), scored(1.001, precision="bf16"), scored(1.1, precision="nf4"), make.prefill()]
    ((speech, choice),) = content_of(*rows).languages
    assert choice.pick.route == Route("torch", "bf16", "eager")
    assert {one.route.precision: one.judgement.word for one in choice.candidates} == {
        "fp32": "reference",
        "bf16": "as accurate",
        "nf4": "less accurate",
    }
    assert set(choice.untested) == {route for route in LANGUAGES if route.precision != "bf16"}
    assert speech.text == ("python-topics", "0123456789abcdef")


def test_the_first_token_is_that_of_decoding_where_none_was_timed_alone(make: Any, content_of: Any) -> None:
    decoded = make.decode(40.0, series={"block_seconds": (2.5,) * 6, "first_token_seconds": (0.3, 0.1, 0.2)})
    ((_, choice),) = content_of(decoded).languages
    assert choice.candidates[0].first_token == Estimate(value=0.2, interval=None)
    ((_, choice),) = content_of(decoded, make.prefill(100.0)).languages
    assert choice.candidates[0].first_token.value == pytest.approx(0.1)
    ((_, choice),) = content_of(make.decode(40.0)).languages
    assert choice.candidates[0].first_token is None


def test_a_compiled_route_has_the_perplexity_of_its_precision(make: Any, content_of: Any) -> None:
    rows = [make.decode(40.0), make.decode(20.0, precision="bf16", mode="compiled")]
    rows += [make.perplexity((300, 310, 140)), make.perplexity((300, 310, 140), precision="bf16")]
    ((_, choice),) = content_of(*rows).languages
    assert choice.candidates[0].quality.case.precision == "bf16"


def test_a_gpus_rows_have_a_ratio_to_tf32_as_well(judged: Any, content_of: Any) -> None:
    on = {"device": "cuda"}
    rows = [
        judged(4.0, **on),
        judged(2.0, precision="tf32", **on),
        judged(0.5, precision="bf16", mode="reduce-overhead", **on),
    ]
    choice = choice_of(content_of(*rows))
    assert {one.route.precision: one.result.beside.tf32 for one in choice.candidates} == {
        "fp32": pytest.approx(0.5),
        "tf32": pytest.approx(1.0),
        "bf16": pytest.approx(4.0),
    }
    assert choice.pick.route == Route("torch", "bf16", "reduce-overhead")
    assert choice.untested == (Route("torch", "bf16", "eager"),)
