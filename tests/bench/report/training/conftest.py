"""Rows of the experiments on training, made from the records with a few words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bench.core.records import Cold, Failure, FailureKind, Figure, Measurement, Peak, Scalar

RUNGS: tuple[dict[str, Any], ...] = (
    {"pipeline": "dataloader", "workers": 0, "rung": 0},
    {"pipeline": "dataloader", "workers": 2, "rung": 0},
    {"pipeline": "tensor", "rung": 1},
    {"pipeline": "tensor", "channels_last": True, "rung": 2},
    {"pipeline": "tensor", "channels_last": True, "fused": True, "rung": 3},
    {"pipeline": "tensor", "channels_last": True, "fused": True, "mode": "compiled", "rung": 4},
    {
        "pipeline": "tensor",
        "channels_last": True,
        "fused": True,
        "mode": "compiled",
        "precision": "bf16_autocast",
        "rung": 5,
    },
)
"""Places of a ladder, as settings and options of a case."""
FIELDS = ("pipeline", "mode", "precision")


class Learner:
    """Makes measurements of training experiments; ``make`` is the maker of all others."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def measurement(
        self,
        experiment: str,
        seconds: Sequence[float],
        *,
        items: int = 1_000,
        options: Mapping[str, Scalar] | None = None,
        figures: Mapping[str, float] | None = None,
        accuracy: float | None = None,
        peak: int | None = None,
        compile_seconds: float | None = None,
        series: Mapping[str, Sequence[float]] | None = None,
        **changes: Any,
    ) -> Measurement:
        fields = {name: changes.pop(name) for name in ("absent", "notes", "texts") if name in changes}
        case = self.make.case(experiment, **changes)
        return Measurement(
            case=dataclasses.replace(case, options=tuple(sorted((options or {}).items()))),
            seconds=tuple(seconds),
            items_per_step=items,
            cold=Cold(compile=compile_seconds),
            peaks=() if peak is None else (Peak(phase="steady", kind="rss", bytes=peak),),
            quality=None if accuracy is None else self.make.quality(accuracy),
            figures={name: Figure(value=float(value), unit="1") for name, value in (figures or {}).items()},
            series={name: tuple(values) for name, values in (series or {}).items()},
            **fields,
        )

    def rung(self, place: int, rate: float, accuracy: float = 0.7, **changes: Any) -> Measurement:
        """One training at a place of the ladder: ``rate`` images a second in each of four epochs."""
        facts, options = _split(RUNGS[place])
        options |= {"train_images": 4_000, **changes.pop("options", {})}
        seconds = changes.pop("seconds", (1_000 / rate,) * 4)
        given = {"model": "resnet14_cifar", "recipe": "note4_resnet14_cifar", "batch_size": 64, **facts, **changes}
        return self.measurement("ladder", seconds, options=options, accuracy=accuracy, **given)

    def rung_failure(self, place: int, kind: FailureKind, message: str, **changes: Any) -> Failure:
        """The same place, which gave no measurement."""
        case = self.rung(place, 1.0, **changes).case
        return Failure(case=case, kind=kind, message=message)

    def loading(self, workers: int | None, rate: float, **changes: Any) -> Measurement:
        """Six passes at ``rate`` items a second; no workers is the tensor pipeline."""
        items = changes.pop("items", 5_000)
        options = {"source": changes.pop("source", "random"), "items": items}
        options |= {} if workers is None else {"workers": workers}
        seconds = changes.pop("seconds", (items / rate,) * 6)
        facts = {"model": "none", "pipeline": "tensor" if workers is None else "dataloader", "batch_size": 64}
        figures = {"items_per_second": rate, "first_pass_seconds": 9.25, "criterion_met": 1}
        return self.measurement(
            "loading", seconds, items=items, options=options, figures=figures, **{**facts, **changes}
        )

    def step(self, place: int, parts: tuple[float, float, float, float], **changes: Any) -> Measurement:
        """Ten steps whose parts take so many milliseconds."""
        facts, options = _split(RUNGS[place])
        del options["rung"]
        names = ("loading", "forward", "backward", "optimizer")
        series = {f"{name}_seconds": (part / 1e3,) * 10 for name, part in zip(names, parts, strict=True)}
        given = {"model": "cnn_small", "batch_size": 64, "items": 64, "peak": 12_000_000, **facts, **changes}
        return self.measurement("training_step", (sum(parts) / 1e3,) * 10, options=options, series=series, **given)

    def transfer(self, scope: str, accuracy: float, seconds: float = 20.0, **changes: Any) -> Measurement:
        """Two epochs that take so many seconds together."""
        options = {"source": changes.pop("source", "five_classes"), "scope": scope, "half": 2}
        figures = {"trainable_parameters": 5_130 if scope == "head" else 11_173_962, "training_seconds": seconds}
        figures |= changes.pop("figures", {})
        facts = {"model": "resnet18_cifar", "pipeline": "tensor", "peak": 80_000_000, **changes}
        return self.measurement(
            "transfer", (seconds / 2,) * 2, options=options, figures=figures, accuracy=accuracy, **facts
        )

    def ablation(
        self, question: str, variant: str, accuracy: float, trained: float | None = None, **changes: Any
    ) -> Measurement:
        """``trained`` is the accuracy on training images in the last epoch."""
        options = {"question": question, "variant": variant}
        series = {} if trained is None else {"train_accuracy": (0.3, trained)}
        facts = {"pipeline": "tensor", **changes}
        return self.measurement("ablation", (5.0, 5.0), options=options, series=series, accuracy=accuracy, **facts)

    def speedrun(self, seconds: float | None, accuracy: float = 0.942, epochs: int = 8, **changes: Any) -> Measurement:
        """``seconds`` to the target; None: it was not reached."""
        figures: dict[str, float] = {"target_accuracy": 0.94}
        figures |= {} if seconds is None else {"seconds_to_target": seconds, "epochs_to_target": epochs}
        why = {"figures.seconds_to_target": f"the best of 9 epochs is {accuracy:.4f}, below 0.94"}
        facts = {"model": "resnet18_cifar", "recipe": "speedrun_resnet18_cifar", "pipeline": "tensor", **changes}
        return self.measurement(
            "speedrun",
            (1.5,) * 9,
            options={"target": 0.94},
            figures=figures,
            accuracy=accuracy,
            compile_seconds=41.0,
            absent=why if seconds is None else {},
            **facts,
        )

    def half_width(self, values: Sequence[float], factor: float) -> float:
        """Of the t interval of ``values``, by the textbook: ``factor`` is Student's, for one value less."""
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        return factor * math.sqrt(variance / len(values))


def _split(place: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of a case, and options."""
    return {name: place[name] for name in FIELDS if name in place}, {
        name: value for name, value in place.items() if name not in FIELDS
    }


@pytest.fixture
def learn(make: Any) -> Learner:
    return Learner(make)
