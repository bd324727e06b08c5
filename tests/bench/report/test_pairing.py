"""Results beside the reference: by turns, by medians, by labels, by tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bench.core.records import Divergence, Peak
from bench.report.pairing import agreement, compared
from tests.bench.report.conftest import TRUTH

RIGHT = TRUTH
ONE_WRONG = (1, *TRUTH[1:])


def by_route(run: Any) -> dict[str, Any]:
    return {one.route.name: one for one in compared([run]) if not one.is_twin}


def test_turns_give_the_ratio_whatever_the_medians_say(make: Any, run_of: Any) -> None:
    """The machine was twice as slow while the reference's own row was summed up."""
    sets = ((2.0, 2.0, 1.9), (2.0, 2.0, 2.0), (2.1, 2.1, 2.1))
    reference = make.in_turns([[1.0] * 3] * 3, seconds=0.002)
    route = make.in_turns(sets, seconds=0.001, runtime="openvino", mode="native", precision="int8_static")
    result = by_route(run_of(reference, route))["OpenVINO int8_static"]
    assert result.beside.ratio.value == pytest.approx(2.0)
    assert (result.beside.ratio.sets, result.beside.ratio.rounds, result.processes) == (3, 9, 3)
    assert result.beside.ratio.interval.low < 2.0 < result.beside.ratio.interval.high
    assert result.beside.side == "above"


def test_one_process_has_a_ratio_and_no_interval(make: Any, run_of: Any) -> None:
    rows = by_route(run_of(make.inference([0.002] * 30), make.inference([0.001] * 30, precision="bf16")))
    ratio = rows["PyTorch bf16 eager"].beside.ratio
    assert (ratio.value, ratio.interval, ratio.sets) == (2.0, None, 1)
    assert rows["PyTorch fp32 eager"].beside.ratio.value == 1.0


@pytest.mark.parametrize(("seconds", "side"), [(0.00095, "across"), (0.00085, "above"), (0.00115, "below")])
def test_one_process_is_faster_from_a_margin_on(make: Any, run_of: Any, seconds: float, side: str) -> None:
    rows = by_route(run_of(make.inference([0.001] * 30), make.inference([seconds] * 30, precision="bf16")))
    assert rows["PyTorch bf16 eager"].beside.side == side


def test_the_noise_of_the_run_widens_the_margin_of_one_process(make: Any, run_of: Any) -> None:
    noise = [make.noise("a", 1.0), make.noise("b", 1.5)]
    rows = by_route(run_of(make.inference([0.001] * 30), make.inference([0.0007] * 30, precision="bf16"), *noise))
    result = rows["PyTorch bf16 eager"]
    assert (result.floor, result.beside.side) == (0.5, "across")


def test_several_processes_go_by_their_interval(make: Any, run_of: Any) -> None:
    rows = [make.inference([0.001] * 30, repeat=repeat) for repeat in (0, 1)]
    rows += [make.inference([0.00095] * 30, precision="bf16", repeat=repeat) for repeat in (0, 1)]
    result = by_route(run_of(*rows))["PyTorch bf16 eager"]
    assert (result.beside.ratio.sets, result.beside.side) == (2, "above")


def test_labels_are_paired_image_by_image(make: Any, run_of: Any) -> None:
    rows = by_route(run_of(make.inference(labels=RIGHT), make.inference(labels=ONE_WRONG, precision="bf16")))
    found = rows["PyTorch bf16 eager"].beside.agreement
    assert (found.images, found.alike, found.lost, found.gained) == (10, 0.9, 1, 0)
    assert found.change.value == pytest.approx(-0.1)
    # Two discordant images and one added to each count, of 12: 1.96 sqrt((2/12 + 1/12 - (1/12)^2) / 12)
    error = 1.96 * math.sqrt((3 / 12 - 1 / 144) / 12)
    assert found.change.interval.low == pytest.approx(-0.1 - error)
    assert found.worst_class == (0, -1.0)
    assert rows["PyTorch fp32 eager"].beside.agreement is None


def test_no_flip_in_few_images_is_not_no_change_at_all() -> None:
    labels = np.array(TRUTH)
    found = agreement(labels, labels, labels)
    assert found is not None
    assert found.change.interval is not None
    assert found.change.interval.low < -0.1


def test_weights_of_another_training_are_not_paired(make: Any, run_of: Any) -> None:
    other = make.inference(labels=ONE_WRONG, precision="bf16", artefact="other.pt")
    rows = by_route(run_of(make.inference(labels=RIGHT, artefact="one.pt"), other))
    assert rows["PyTorch bf16 eager"].beside.agreement is None


def test_perplexity_is_paired_by_window_and_by_token(make: Any, run_of: Any) -> None:
    rows = by_route(run_of(make.perplexity((300, 310, 140)), make.perplexity((303, 313, 142), precision="nf4")))
    ratio = rows["PyTorch nf4 eager"].beside.perplexity
    assert ratio.value == pytest.approx(math.exp(8 / 250))
    assert ratio.interval.low < ratio.value < ratio.interval.high
    tokens = {"token_nats": (1.0, 2.0, 3.0, 2.0)}
    series = [{**make.perplexity((8,), (4,)).series, **tokens}, {"token_nats": (1.1, 2.1, 3.1, 2.1)}]
    pair = [make.perplexity((8,), (4,), series=one, precision=name) for one, name in zip(series, ("fp32", "nf4"))]  # noqa: B905
    assert by_route(run_of(*pair))["PyTorch nf4 eager"].beside.perplexity.value == pytest.approx(math.exp(0.1))


def test_bytes_are_beside_the_references(make: Any, run_of: Any) -> None:
    rows = by_route(run_of(make.inference(), make.inference(precision="bf16", weight_bytes=87_252)))
    assert rows["PyTorch bf16 eager"].beside.weights == pytest.approx(0.5)


def test_divergence_is_kept_as_measured(make: Any, run_of: Any) -> None:
    divergence = Divergence(kl_mean=0.01, kl_standard_error=0.001, kl_p99=0.2, same_top=0.99, samples=1000)
    rows = by_route(run_of(make.inference(divergence=divergence, precision="bf16")))
    assert rows["PyTorch bf16 eager"].first.quality.divergence == divergence


def test_a_cell_of_another_machine_is_no_reference(make: Any, run_of: Any) -> None:
    here = run_of(make.inference(precision="bf16"), name="here.json")
    there = run_of(make.inference(), name="there.json", machine=make.machine(cores=64))
    (result,) = (one for one in compared([here, there]) if one.case.precision == "bf16")
    assert result.beside.ratio is None


def test_few_tokens_are_paired_with_the_first_of_the_reference(make: Any, run_of: Any) -> None:
    def scored(count: int, nats: float, **changes: Any) -> Any:
        series = {"token_nats": (nats,) * count, "window_nats": (nats * count,), "window_tokens": (float(count),)}
        options = {"text_tokens": count}
        return make.perplexity((nats * count,), (count,), series=series, options=options, **changes)

    rows = by_route(run_of(scored(8, 1.0), scored(4, 1.1, runtime="llama_cpp", mode="native", precision="q8_0")))
    assert rows["llama.cpp q8_0"].beside.perplexity.value == pytest.approx(math.exp(0.1))


def test_memory_in_use_is_not_known_where_a_runtime_keeps_its_buffers(make: Any, run_of: Any) -> None:
    peaks = (Peak(phase="steady", kind="rss", bytes=1_000_000),)
    eager = make.inference([0.002] * 30, peaks=peaks)
    native = make.inference([0.001] * 30, peaks=peaks, runtime="openvino", mode="native")
    rows = by_route(run_of(eager, native))
    assert rows["PyTorch fp32 eager"].in_use == 1_000_000 + eager.weight_bytes
    assert (rows["OpenVINO fp32"].in_use, rows["OpenVINO fp32"].beside.memory) == (None, None)
