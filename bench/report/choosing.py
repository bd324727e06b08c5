"""Choice of a route: the fastest tried one that is as accurate."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.core.quality import Margins
from bench.core.records import Failure
from bench.report.judging import Judgement, judged, judged_perplexity
from bench.report.language import Speech
from bench.report.pairing import clearly_slower
from bench.report.results import COMPILED, EAGER, FP32, GRAPHS, NATIVE, REFERENCE, Result, Route, grouped
from bench.report.statistics import Estimate, quantile_interval

CLOSE = 0.03
"""Part of its speed by which the smaller of two routes may be slower and still be picked."""
CLASSIFIERS = (
    Route("torch", FP32, COMPILED),
    Route("torch", "bf16", COMPILED),
    Route("torch", "int8_static", COMPILED),
    Route("onnxruntime", "int8_static", NATIVE),
    Route("openvino", "bf16", NATIVE),
    Route("openvino", "int8_static", NATIVE),
)
"""Routes of a classifier on a CPU that are worth trying."""
CLASSIFIERS_CUDA = (
    Route("torch", "tf32", EAGER),
    Route("torch", "bf16", EAGER),
    Route("torch", "bf16", GRAPHS),
)
"""Routes of a classifier on a GPU that are worth trying."""
LANGUAGES = (
    Route("torch", "bf16", EAGER),
    Route("torch", "int8_packed", COMPILED),
    Route("openvino", "int8_weights", NATIVE),
    Route("openvino", "int4_weights", NATIVE),
    Route("llama_cpp", "q8_0", NATIVE),
)
LANGUAGES_CUDA = (
    Route("torch", "bf16", EAGER),
    Route("torch", "bf16", GRAPHS),
    Route("torch", "int4_linear", GRAPHS),
)
BF16_FEATURES = ("avx512_bf16", "amx_bf16")
"""Features of a CPU with which bfloat16 is worth trying."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A route that was tried."""

    result: Result
    """Result of inference, or of decoding."""
    judgement: Judgement
    prefill: Result | None = None
    """The result of generations of one token of the same prompts; None where none were timed alone."""
    quality: Result | None = None
    """The result that has the perplexity, of a language model."""

    @property
    def route(self) -> Route:
        return self.result.route

    @property
    def speed(self) -> float:
        """Calls or tokens a second."""
        return 1 / self.result.timing.median

    @property
    def first_token(self) -> Estimate | None:
        """Seconds to the first token: measured alone, else of the generations that were decoded."""
        if self.prefill is not None:
            return Estimate(value=self.prefill.timing.median, interval=self.prefill.timing.interval)
        seconds = self.result.first.series.get("first_token_seconds")
        return Estimate(value=statistics.median(seconds), interval=quantile_interval(seconds)) if seconds else None

    @property
    def size(self) -> float:
        return self.result.weight_bytes if self.result.weight_bytes is not None else float("inf")


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """One model at one batch size: what was tried, what to pick, and what was not tried."""

    candidates: tuple[Candidate, ...]
    """Fastest first."""
    pick: Candidate | None
    untested: tuple[Route, ...]
    judged: bool
    """True if the quality of any route beside the reference is known."""

    @property
    def first(self) -> Result:
        return self.candidates[0].result

    @property
    def batch(self) -> int:
        return self.first.case.batch_size

    @property
    def model(self) -> str:
        return self.first.case.model

    @property
    def reference(self) -> Candidate | None:
        return next((one for one in self.candidates if one.route.is_reference), None)

    @property
    def only_reference(self) -> bool:
        return all(one.route.is_reference for one in self.candidates)

    @property
    def faster(self) -> list[Candidate]:
        """Routes that are clearly faster than the pick, and were not picked for their quality."""
        if self.pick is None:
            return []
        return [one for one in self.candidates if clearly_slower(one.result, self.pick.result)]

    @property
    def level(self) -> list[Candidate]:
        """Routes as accurate as the pick that are not clearly slower or faster."""
        if self.pick is None:
            return []
        others = [one for one in self.candidates if one is not self.pick and one.judgement.accurate]
        return [one for one in others if not clearly_slower(self.pick.result, one.result)]


def classifier_choices(
    results: Sequence[Result], failures: Sequence[Failure], margins: Margins, features: Sequence[str]
) -> list[list[Choice]]:
    """One list a network: a choice for each batch size, the smallest first."""
    rows = [one for one in results if one.case.experiment == "inference" and not one.is_twin]
    choices = []
    for members in grouped(rows, lambda one: one.network).values():
        sizes = grouped(sorted(members, key=lambda one: one.case.batch_size), lambda one: one.case.batch_size)
        choices.append([_of_classifier(some, failures, margins, features) for some in sizes.values()])
    return choices


def language_choice(
    speech: Speech, failures: Sequence[Failure], margins: Margins, features: Sequence[str]
) -> Choice | None:
    """At the headline's setting; None where nothing was decoded."""
    found = [
        Candidate(
            result=one,
            judgement=judged_perplexity(quality, margins)
            if not one.route.is_reference
            else Judgement(word="reference"),
            prefill=speech.beside(one, "prefill"),
            quality=quality,
        )
        for one in speech.decoding()
        for quality in [speech.beside(one, "perplexity")]
    ]
    tried = {one.route for one in speech.results if one.case.experiment == "decode"}
    tried |= {
        _route(failure)
        for failure in failures
        if failure.case.experiment == "decode" and failure.case.model == speech.model
    }
    wanted = LANGUAGES_CUDA if speech.first.case.device.startswith("cuda") else LANGUAGES
    return _choice(found, _untested(wanted, tried, features)) if found else None


def _of_classifier(
    rows: Sequence[Result], failures: Sequence[Failure], margins: Margins, features: Sequence[str]
) -> Choice:
    case = rows[0].case
    key = (case.model, case.image_size, case.batch_size)
    tried = {one.route for one in rows} | {
        _route(failure)
        for failure in failures
        if failure.case.experiment == "inference"
        and (failure.case.model, failure.case.image_size, failure.case.batch_size) == key
    }
    wanted = CLASSIFIERS_CUDA if case.device.startswith("cuda") else CLASSIFIERS
    found = [Candidate(result=one, judgement=judged(one, margins)) for one in rows]
    return _choice(found, _untested(wanted, tried, features))


def _choice(found: Sequence[Candidate], untested: Sequence[Route]) -> Choice:
    speed = _speed_of(found)
    ordered = tuple(sorted(found, key=lambda one: -speed(one)))
    usable = [one for one in ordered if not one.result.hardly_converted]
    compared = any(one.judgement.word != "not judged" and not one.route.is_reference for one in usable)
    unjudged = not compared and any(not one.route.is_reference for one in usable)
    accurate = usable if unjudged else [one for one in usable if one.judgement.accurate]
    return Choice(candidates=ordered, pick=_fastest(accurate, speed), untested=tuple(untested), judged=not unjudged)


def _speed_of(candidates: Sequence[Candidate]) -> Callable[[Candidate], float]:
    """Speed by which candidates are compared: that of their turns, if all took some."""
    ratios = {id(one): one.result.beside.ratio for one in candidates}
    if not all(ratio is not None and ratio.rounds for ratio in ratios.values()):
        return lambda one: one.speed
    by_turns = {place: ratio.value for place, ratio in ratios.items() if ratio is not None}
    return lambda one: by_turns[id(one)]


def _fastest(candidates: Sequence[Candidate], speed: Callable[[Candidate], float]) -> Candidate | None:
    """Candidate of the fewest bytes among those about as fast as the fastest; of equal ones one that compiles
    nothing."""
    if not candidates:
        return None
    best = max(map(speed, candidates))
    near = [one for one in candidates if speed(one) >= (1 - CLOSE) * best]
    return min(near, key=lambda one: (one.size, one.route.mode != EAGER, -speed(one)))


def _untested(wanted: Sequence[Route], tried: set[Route], features: Sequence[str]) -> list[Route]:
    """bfloat16 counts only where the processor has it."""
    known = [route for route in wanted if route not in tried and route != REFERENCE]
    slow = not any(name in features for name in BF16_FEATURES)
    cuda = wanted in (CLASSIFIERS_CUDA, LANGUAGES_CUDA)
    return [route for route in known if not (route.precision == "bf16" and slow and not cuda)]


def _route(failure: Failure) -> Route:
    return Route(failure.case.runtime, failure.case.precision, failure.case.mode)
