"""The nouns of a result, and how they become JSON and come back.

Standard library only: the pytest process, the report and a laptop without torch all read these.
Everything is in SI units: bytes, seconds, joules, fractions of 1. What was not measured is ``None`` and has its
reason in ``absent``; it is never 0, NaN or infinity.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

SCHEMA = 2
"""Version of results: 1 had neither runtimes nor turns."""

Scalar = str | int | float | bool | None
Better = Literal["lower", "higher"]
FailureKind = Literal["unsupported", "out_of_memory", "timed_out", "crashed", "error"]

NAMED_OPTIONS = (
    "width",
    "prompt_tokens",
    "rung",
    "workers",
    "scope",
    "question",
    "variant",
    "twin",
    "processes",
    "scaling",
)
"""Options of a case that its name contains: those in which neighbours differ."""

TRACE = "trace: "
"""Begin of the note that names the file of a case's trace, or says why there is none."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to measure, as data: everything a fresh process needs to know, and nothing that it can find out."""

    experiment: str
    model: str
    dataset: str
    image_size: int
    device: str
    threads: int
    budget: str
    runtime: str = "torch"
    """A name in ``bench.core.runtimes.RUNTIMES``. With precision and mode it is the route."""
    precision: str = "fp32"
    mode: str = "eager"
    recipe: str | None = None
    pipeline: str | None = None
    batch_size: int = 1
    seed: int = 0
    repeat: int = 0
    options: tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        if list(self.options) != sorted(self.options, key=lambda pair: pair[0]):
            raise ValueError(f"options of a case are sorted pairs, not {self.options!r}")

    @property
    def id(self) -> str:
        """Hash of the canonical JSON: the same on every machine and in every version of Python."""
        return digest_of(to_json(self))

    @property
    def row(self) -> str:
        """Hash of everything but the repeat: repeats of one case share it, and the report joins them by it."""
        return digest_of(to_json(dataclasses.replace(self, repeat=0)))

    @property
    def name(self) -> str:
        """Readable name, fit for a folder. Repeats share it, and so may other cases: see ``id``."""
        trained = (self.recipe, self.pipeline, f"s{self.seed}") if self.pipeline else ()
        side = f"{self.image_size}px" if self.image_size else None
        options = [f"{name}_{value}" for name, value in self.options if name in NAMED_OPTIONS]
        runtime = self.runtime if self.runtime != "torch" else None
        route = (runtime, self.precision, self.mode)
        parts = (self.experiment, word(self.model), *trained, side, *route, f"b{self.batch_size}")
        return "-".join(re.sub(r"[^\w.]", "_", part) for part in (*parts, *options) if part)

    def option(self, name: str, default: Scalar = None) -> Scalar:
        return dict(self.options).get(name, default)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Samples of a route that were taken one after another, before the next route of its set had its turn."""

    set: int
    """Number of the set of fresh processes, from 0."""
    round: int
    """Number of the round within the set, from 0."""
    samples: int
    """Number of the row's samples, in their order, that belong to this turn."""
    reference_seconds: float | None = None
    """Median seconds of a call of the reference in the same set and round. None: the reference took no turn then."""
    reference_calls: tuple[float, ...] = ()
    """Seconds of those calls of the reference. Empty in files of earlier versions."""
    counts: bool | None = None
    """False: the machine had another pace than in the sets that count, see `off_pace`. None in earlier versions."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Highest memory use during one phase, taken in a pass of its own."""

    phase: Literal["load", "steady"]
    kind: Literal["cuda_allocated", "cuda_reserved", "device_process", "rss", "torch_allocated", "model_resident"]
    """``torch_allocated`` is the account of torch's CPU allocator: the same in every process, but blind to memory of
    libraries. ``rss`` is the process's resident high-water mark, in steps of the C library. ``model_resident`` is what
    a process of its own holds for a runtime's files and a few calls, where buffers are kept between calls."""
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Share that a precision really converted, counted from what ran."""

    quantized_parameters: int
    total_parameters: int
    quantized_flops: int | None
    """None where the trace does not account for what ran."""
    total_flops: int


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The labels (or tokens) predicted, in a file beside the results; the digest pairs two of them."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Distance of a route's outputs from the reference's on the same inputs.

    KL divergence is sum(p * log(p / q)) over the classes or tokens, in nats, with p the reference's probabilities
    (Dutta et al. 2024, arXiv 2407.09141).
    """

    kl_mean: float
    kl_standard_error: float
    kl_p99: float
    """99th percentile over the samples."""
    same_top: float
    """Share of samples whose most probable class or token is the reference's."""
    samples: int


@dataclass(frozen=True, kw_only=True)
class Quality:
    """``value`` with its standard error over ``samples`` images (accuracy) or tokens (perplexity)."""

    metric: Literal["accuracy", "perplexity"]
    value: float
    standard_error: float
    samples: int
    predictions: Predictions | None = None
    divergence: Divergence | None = None
    """From the outputs of the reference route. None in the reference's own row, or with a reason in ``absent``."""
    calibration_error: float | None = None
    """Expected calibration error of a classifier over 15 bins of equal width (Guo et al. 2017), from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A quantity particular to an experiment. ``exact`` ones (bytes, FLOPs, counts) are compared exactly."""

    value: float
    unit: str
    better: Better | None = None
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class Cold:
    """Seconds of what happens once, before the first warm step."""

    load: float | None = None
    convert: float | None = None
    compile: float | None = None
    first_step: float | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceState:
    """One reading of the device while samples were being taken. A field that the device does not tell is None."""

    at: float
    clock_hz: float | None = None
    memory_clock_hz: float | None = None
    celsius: float | None = None
    watts: float | None = None
    throttle: str | None = None
    foreign_processes: int | None = None
    """Processes other than the case's own that compute on the GPU."""
    foreign_cores: float | None = None
    """Cores of the case that others kept busy, on average since the reading before."""
    reference_seconds: float | None = None
    """Seconds of a fixed small piece of work then, on the threads of the case: only the machine changes it."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Result of one case, as raw samples: every statistic is derived from them later."""

    case: Case
    seconds: tuple[float, ...]
    turns: tuple[Turn, ...] = ()
    """Turns to which the samples belong, in order. Empty: all were taken in one stretch of one process."""
    device_seconds: tuple[float, ...] | None = None
    items_per_step: int = 1
    cold: Cold = field(default_factory=Cold)
    weight_bytes: int | None = None
    serialized_bytes: int | None = None
    peaks: tuple[Peak, ...] = ()
    coverage: Coverage | None = None
    quality: Quality | None = None
    divergence: Divergence | None = None
    """From the reference's outputs where nothing judges them: of a pretrained network, on crops of photographs."""
    energy_joules_per_item: float | None = None
    flags: Mapping[str, Scalar] = field(default_factory=dict)
    device_state: tuple[DeviceState, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    artefact: str | None = None
    """File name of the trained weights under ``results/artefacts``: written by a training, read by what needs it."""
    weights_sha256: str | None = None
    """SHA-256 of the weights file that a training wrote or a case loaded. None without one, and in earlier versions."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Words that are no number, in order, for people only: the turns of a conversation with a language model, or
    ``operator 1`` to ``operator 10`` of a traced case (see ``bench/measure/trace.py``)."""
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError(f"{self.case.experiment} of {self.case.model} took no sample; that is a Failure")
        if not all(math.isfinite(second) and second > 0 for second in self.seconds):
            raise ValueError("a sample is a finite number of seconds above 0")
        if self.turns and sum(turn.samples for turn in self.turns) != len(self.seconds):
            raise ValueError("each sample of a row that took turns belongs to one of them")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Reason why a case has no measurement. The report shows it."""

    case: Case
    kind: FailureKind
    message: str
    fitted: Measurement | None = None
    """Same case at the largest halved batch that fits, where memory was short; it is no row. None: none fits."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Machine of a run, with the versions of its packages."""

    device: str
    device_name: str
    capability: str | None
    device_memory_bytes: int | None
    cpu: str
    cores: int
    memory_bytes: int | None
    cpu_features: tuple[str, ...]
    platform: str
    python: str
    driver: str | None
    cuda: str | None
    versions: Mapping[str, str]


Outcome = Measurement | Failure


def to_json(record: Any) -> Any:
    """A record as plain JSON values.

    Raises:
        ValueError: a value is NaN, infinite or of a type that JSON does not have.
    """
    if record is None or type(record) in (str, int, bool):  # as most are
        return record
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {item.name: to_json(getattr(record, item.name)) for item in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, tuple | list):
        return [to_json(value) for value in record]
    if isinstance(record, float) and not math.isfinite(record):
        raise ValueError(f"{record} is not a measured number: use None and say why in `absent`")
    if isinstance(record, str | int | float | bool):
        return record
    raise ValueError(f"{record!r} of type {type(record).__name__} does not go into JSON")


def from_json(kind: type[T], value: Any) -> T:
    """The record of type ``kind`` that ``to_json`` wrote as ``value``.

    Raises:
        ValueError: a field is missing, unknown or of another type.
    """
    try:
        return typing.cast(T, _decode(kind, value))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error


def outcome_from_json(value: Mapping[str, Any]) -> Outcome:
    """A Failure where the object has a ``kind``, else a Measurement."""
    return from_json(Failure, value) if "kind" in value else from_json(Measurement, value)


def digest_of(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def word(model: str) -> str:
    """A model's name, or the last part of a reference to one, fit for a file name."""
    last = model.rpartition(":")[2].rstrip("/").rpartition("/")[2]
    return "".join(character if character.isalnum() else "_" for character in last)


def _decode(kind: Any, value: Any) -> Any:
    if type(value) is kind:  # a plain value, as most are
        return value
    origin, arguments, is_record = _anatomy(kind)
    if is_record:
        return _decode_record(kind, value)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(arguments, value)
    if origin is Literal:
        if value not in arguments:
            raise TypeError(f"{value!r} is none of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if arguments == (float, ...) and all(type(item) is float for item in value):
            return tuple(value)  # thousands of samples: no need to ask each of them again
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_decode(item_kind, item) for item_kind, item in zip(kinds, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _decode(arguments[1], item) for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


@functools.cache
def _anatomy(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Origin and arguments of a type, and whether it is a record. Cached: each value of a file asks for it."""
    return typing.get_origin(kind), typing.get_args(kind), dataclasses.is_dataclass(kind) and isinstance(kind, type)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Types of the fields. Cached, since annotations are text and each evaluation compiles it anew."""
    return typing.get_type_hints(kind)


def _decode_record(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    unknown = set(value) - set(hints)
    if unknown:
        raise TypeError(f"unknown field {', '.join(sorted(unknown))}")
    return kind(**{name: _decode(hints[name], item) for name, item in value.items()})


def _decode_union(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    problems = []
    exact = [kind for kind in kinds if kind is type(value)]
    for kind in exact or [kind for kind in kinds if kind is not type(None)]:
        try:
            return _decode(kind, value)
        except TypeError as error:
            problems.append(str(error))
    raise TypeError("; ".join(problems) or f"{value!r} is not allowed here")
