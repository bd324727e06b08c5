"""Training steps taken apart, and loading alone, each on a few images of the carried digits, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.core.budgets import BUDGETS
from bench.core.experiments import sampling_of
from bench.core.records import Case, Measurement, from_json, to_json
from bench.core.workspace import Workspace
from bench.experiments import training, training_step
from bench.measure.state import Watch

FAST: dict[str, Any] = {"channels_last": True, "products": True, "fused": True}


def case(experiment: str, model: str = "cnn_small", recipe: str = "note4_cnn_small", **options: Any) -> Case:
    given = {"train_images": 128, "test_images": 100, **FAST, **options}
    return Case(
        experiment=experiment,
        model=model,
        dataset="mnist5k",
        image_size=32,
        device="cpu",
        threads=1,
        budget="smoke",
        recipe=recipe,
        pipeline="tensor",
        batch_size=64,
        options=tuple(sorted((name, value) for name, value in given.items() if value is not None)),
    )


def values(measurement: Measurement) -> dict[str, float]:
    assert from_json(Measurement, to_json(measurement)) == measurement
    return {name: figure.value for name, figure in measurement.figures.items()}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_step_is_the_sum_of_its_parts_and_counts_three_times_the_forward_flops(workspace: Workspace) -> None:
    found = training_step.run(case("training_step", min_samples=4, max_seconds=5.0), workspace)
    parts = [found.series[f"{part}_seconds"] for part in training_step.PARTS]
    assert {len(part) for part in parts} == {len(found.seconds)}
    assert [sum(step) for step in zip(*parts, strict=True)] == pytest.approx(list(found.seconds))
    assert all(second > 0 for part in parts for second in part)
    assert values(found)["loading_share"] < 1
    # Convolutions of 8 x 27, 16 x 72, 32 x 144, 64 x 288 weights at 32, 16, 8, 4 pixels a side; 256-64-32-10. The first
    # needs no gradient of its input.
    convolutions = [8 * 27 * 1024, 16 * 72 * 256, 32 * 144 * 64, 64 * 288 * 16]
    multiplied = 3 * (sum(convolutions) + 256 * 64 + 64 * 32 + 32 * 10) - convolutions[0]
    assert values(found)["flops_per_step"] == 2 * multiplied * 64


def test_a_step_is_warmed_up_by_the_clock_and_its_parts_forget_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[torch.device] = []

    def warm_up(step: Any, device: torch.device) -> None:
        for _ in range(4):
            step()
        warmed.append(device)

    monkeypatch.setattr(training_step.clock, "warm_up", warm_up)
    found = training_step.run(case("training_step", min_samples=3, max_seconds=5.0), workspace)
    assert warmed == [torch.device("cpu")]
    assert {len(found.series[f"{part}_seconds"]) for part in training_step.PARTS} == {len(found.seconds)}


@pytest.mark.parametrize("budget", list(BUDGETS))
def test_passes_of_loading_have_a_stopping_rule_of_their_own(budget: str) -> None:
    rule = sampling_of(replace(case("loading"), budget=budget))
    assert rule == BUDGETS[budget].loading
    assert rule.min_samples >= 3
    assert rule.min_seconds == 0  # a pass may take longer than what latencies are sampled for


@pytest.mark.parametrize("source", ["images", "random"])
@pytest.mark.parametrize("pipeline", ["dataloader", "tensor"])
def test_a_pass_loads_every_item(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, source: str, pipeline: str
) -> None:
    counted: list[int] = []
    timed = training_step._pass

    def counting(batches: Any, step: Any, device: Any) -> float:
        held = list(batches)
        counted.append(sum(len(labels) for _, labels in held))
        assert held[0][0].shape == (64, 3, 32, 32)
        return timed(held, step, device)

    monkeypatch.setattr(training_step, "_pass", counting)
    given = case("loading", model="none", source=source, items=150, workers=0, min_samples=2, train_images=None)
    found = training_step.run_loading(replace(given, pipeline=pipeline), workspace)
    assert set(counted) == {150}
    assert len(counted) == len(found.seconds) + 1  # the first pass is no sample
    assert found.items_per_step == 150


def test_a_step_follows_where_a_network_is_named(workspace: Workspace) -> None:
    alone, stepping = (
        training_step.run_loading(case("loading", model=model, source="images", items=256, min_samples=2), workspace)
        for model in ("none", "cnn_small")
    )
    assert min(stepping.seconds) > 2 * max(alone.seconds)


def test_the_device_is_read_at_the_end_as_well(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Watch] = []
    monkeypatch.setattr(Watch, "last", lambda watch: ends.append(watch))
    training_step.run_loading(case("loading", model="none", source="random", items=64, train_images=None), workspace)
    training_step.run(case("training_step", max_seconds=1.0), workspace)
    training.run(case("ladder", rung=1), workspace)
    assert len(ends) == 3
