"""Choice of the cases that fit into a number of minutes: those that tell the most come first. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.core.amounts import Budget
from bench.core.experiments import EXPERIMENTS
from bench.core.recipes import recipe
from bench.core.records import Scalar

Route = tuple[str, str, str]
"""Runtime, precision and mode."""

REFERENCE: Route = ("torch", "fp32", "eager")
FIRST_ROUTES: dict[tuple[str, str], tuple[Route, ...]] = {
    ("inference", "cpu"): (
        REFERENCE,
        ("openvino", "int8_static", "native"),
        ("torch", "int8_static", "compiled"),
        ("onnxruntime", "int8_static", "native"),
        ("torch", "bf16", "compiled"),
        ("torch", "fp32", "compiled"),
        ("openvino", "bf16", "native"),
        ("openvino", "fp32", "native"),
        ("torch", "bf16", "eager"),
        ("torch", "int8_weights", "eager"),
    ),
    ("inference", "cuda"): (
        REFERENCE,
        ("torch", "bf16", "reduce-overhead"),
        ("torch", "tf32", "eager"),
        ("torch", "bf16", "max-autotune"),
        ("torch", "fp16", "reduce-overhead"),
        ("torch", "bf16", "compiled"),
        ("torch", "bf16", "eager"),
        ("torch", "fp8_dynamic", "reduce-overhead"),
    ),
    ("language", "cpu"): (
        REFERENCE,
        ("openvino", "int8_weights", "native"),
        ("torch", "int8_packed", "compiled"),
        ("torch", "int8_packed", "eager"),
        ("llama_cpp", "q8_0", "native"),
        ("torch", "bf16", "eager"),
        ("openvino", "int4_weights", "native"),
    ),
    ("language", "cuda"): (
        REFERENCE,
        ("torch", "bf16", "reduce-overhead"),
        ("torch", "bf16", "compiled"),
        ("torch", "bf16", "eager"),
        ("torch", "int4_linear", "reduce-overhead"),
        ("torch", "int8_packed", "compiled"),
        ("torch", "nf4_bf16", "eager"),
    ),
}
"""Routes by kind of case and device, the reference first, then those that won on most machines (docs/method.md)."""
ANSWERED_BY = 3
"""Routes, the reference among them, that give a network its first answer. Further ones come after all networks."""
LANGUAGE_ANSWER = ("decode", "perplexity", "prefill")
"""Experiments that give a language model its first answer."""
LATER = (
    ("ceilings",),
    ("inference", "decode", "perplexity", "prefill"),
    ("training", "training_step", "ladder"),
    ("layers", "load", "chat"),
    ("loading", "pretraining", "transfer", "ablation", "scaling", "speedrun"),
)
"""Experiments after the likely winners, in the order of what they tell."""

FIXED_SECONDS: dict[str, float] = {
    "ceilings": 17.0,
    "training": 10.0,
    "ladder": 20.0,
    "training_step": 1.5,
    "loading": 1.0,
    "pretraining": 5.0,
    "transfer": 8.0,
    "ablation": 20.0,
    "scaling": 20.0,
    "speedrun": 120.0,
    "inference": 3.0,
    "layers": 0.5,
    "load": 2.0,
    "prefill": 2.0,
    "decode": 6.0,
    "perplexity": 6.0,
    "chat": 2.0,
}
"""Seconds of a case without its timed samples, by experiment: budget ``quick``, two cores of an AMD EPYC."""
TRAINING_SECONDS = {
    "cnn_small": 3.0,
    "cnn_vgg": 9.0,
    "resnet_custom": 10.0,
    "resnet14_cifar": 5.0,
    "resnet18_cifar": 14.0,
}
"""Seconds of a training by network, there; those of others are in ``FIXED_SECONDS``."""
CONVERTED_SECONDS: dict[str, float] = {
    "eager": 0.0,
    "native": 4.0,
    "compiled": 8.0,
    "reduce-overhead": 15.0,
    "max-autotune": 60.0,
}
"""Seconds by which conversion and compilation of a mode add to that, once."""
SET_SECONDS = 1.0
"""Seconds to start and prepare a process of each further set."""
GPU_SECONDS = {"inference": 8.0, "decode": 8.0, "layers": 2.0, "prefill": 2.0, "perplexity": 2.0, "load": 2.0}
"""Seconds that a case takes more on a GPU: its context, and where energy is metered five seconds of that."""
GPU_STEP_SECONDS = 0.007
"""Seconds of a training step there: some sixty layers forward and backward."""
SMALL_BATCH = 16
"""Images of a step of an unknown recipe: the notes' smallest."""
LOAD_SECONDS = {"llama3-8b-shape": 10.0}
"""Seconds that each process takes more to load a large model, by its name."""
WHOLE_TRAINING_SECONDS = 3600.0
"""Seconds of a training whose images a budget does not limit: no estimate, but more than a run of minutes has."""
UNKNOWN = 1.25
"""Factor on an estimate, which knows neither this machine nor this network."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A selected test, as far as its choice needs to know it."""

    test: str
    """Id of the test, as pytest has it."""
    experiment: str
    params: Mapping[str, Scalar]
    seconds: float
    """Expected, without the training whose weights it needs."""
    measured: bool = False
    """True if an earlier run measured it, so that it costs nothing."""
    training: str | None = None
    """Id of the training that has to run before it; None where its weights are there, or it needs none."""
    training_seconds: float = 0.0

    @property
    def route(self) -> Route:
        runtime, precision, mode = (self.params.get(name) for name in ("runtime", "precision", "mode"))
        return (str(runtime or "torch"), str(precision or "fp32"), str(mode or "eager"))

    @property
    def model(self) -> Scalar:
        """Model that it answers for; None where it answers for none."""
        answers = EXPERIMENTS[self.experiment].kind in ("inference", "language") or self.experiment == "training"
        return self.params.get("model") if answers else None

    @property
    def batch(self) -> int:
        return int(self.params.get("batch_size") or 1)

    @property
    def setting(self) -> tuple[Scalar, ...]:
        """Size of the inputs and of the batch."""
        return tuple(self.params.get(name) for name in ("image_size", "batch_size", "prompt"))

    @property
    def subject(self) -> tuple[Scalar, ...]:
        """Cases of one subject are compared with one another, and run together."""
        named = ("model", "kind", "width", "image_size", "batch_size", "prompt", "seed")
        return (self.experiment, *(self.params.get(name) for name in named))


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A selected test that does not run."""

    test: str
    reason: str
    seconds: float
    """Expected seconds, with its training."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Tests that fit, in the order in which they run, and those that do not."""

    chosen: tuple[Wanted, ...]
    left_out: tuple[LeftOut, ...]


def estimate(experiment: str, params: Mapping[str, Scalar], budget: Budget, sets: int, device: str = "cpu") -> float:
    """Expected seconds of a case of which this machine's journal knows nothing.

    Args:
        sets: fresh processes in which a case that takes turns is timed.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    kind = EXPERIMENTS[experiment]
    if kind.kind == "training" and kind.sampling is None and budget.train_images is None:
        return WHOLE_TRAINING_SECONDS
    sampled = kind.sampling(budget).max_seconds if kind.sampling else 0.0
    again = SET_SECONDS * (sets - 1) if kind.takes_turns and kind.sampling else 0.0
    converted = CONVERTED_SECONDS.get(str(params.get("mode", "eager")), 0.0) if kind.kind != "training" else 0.0
    fixed = FIXED_SECONDS[experiment]
    if experiment == "training":
        fixed = TRAINING_SECONDS.get(str(params.get("model")), fixed)
        if device != "cpu":
            fixed = _gpu_training_seconds(params, budget)
    loaded = LOAD_SECONDS.get(str(params.get("model")), 0.0) * (sets if kind.takes_turns else 1)
    on_gpu = 0.0 if device == "cpu" else GPU_SECONDS.get(experiment, 0.0)
    return UNKNOWN * (fixed + converted + sampled + again + loaded + on_gpu)


def _gpu_training_seconds(params: Mapping[str, Scalar], budget: Budget) -> float:
    """By steps: those of small images are as long as their launches, whatever the batch."""
    images = budget.train_images_by_model.get(str(params.get("model")), budget.train_images or 0)
    named = params.get("recipe")
    batch = recipe(str(named)).batch_size if named else SMALL_BATCH
    return FIXED_SECONDS["training"] + GPU_STEP_SECONDS * images / batch


def choose(wanted: Sequence[Wanted], seconds: float, device: str) -> Choice:
    """Choose the tests of ``wanted`` that are expected to take ``seconds`` together, by what they tell.

    First each model gets its shortest answer, the cheapest model first: the reference and the likeliest winner, at its
    smallest batch that has one. A model whose answer does not fit is left out as a whole, so that no time goes to a
    reference without a rival. Then come further likely winners of each model that was answered, and further tests,
    each if it still fits. What an earlier run measured costs nothing.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    purse = _Purse(seconds=seconds)
    purse.take([test for test in wanted if test.measured])
    offers = sorted(_answers(wanted, device), key=lambda answers: purse.price(answers[-1]))
    unanswered = {answers[-1][0].model for answers in offers if not purse.take(answers[-1])}
    for answers in offers:
        if answers[0][0].model not in unanswered:
            any(map(purse.take, answers))
    for test in sorted(wanted, key=lambda test: _rank(test, device)):
        if test.model not in unanswered:
            purse.take([test])
    chosen = {test.test for test in purse.chosen}
    return Choice(
        chosen=tuple(_together(purse.chosen)),
        left_out=tuple(_left_out(test, purse) for test in wanted if test.test not in chosen),
    )


class _Purse:
    """Seconds that are left, and the tests that they were spent on."""

    def __init__(self, *, seconds: float) -> None:
        self.seconds = seconds
        self.chosen: list[Wanted] = []
        self._tests: set[str] = set()
        self._trained: set[str] = set()

    def price(self, tests: Iterable[Wanted]) -> float:
        """Seconds of ``tests``, with each training that is still to run counted once."""
        trainings = {
            test.training: test.training_seconds
            for test in tests
            if not test.measured and test.training is not None and test.training not in self._trained
        }
        return sum(test.seconds for test in tests if not test.measured) + sum(trainings.values())

    def take(self, tests: Sequence[Wanted]) -> bool:
        """Spend the price of ``tests`` if it is there. Returns whether it was."""
        new = [test for test in tests if test.test not in self._tests]
        price = self.price(new)
        if price and price > self.seconds:
            return False
        self.seconds -= price
        self.chosen += new
        self._tests |= {test.test for test in new}
        self._trained |= {test.training for test in new if test.training is not None}
        return True


def _answers(wanted: Sequence[Wanted], device: str) -> list[list[list[Wanted]]]:
    """For each model the tests that may give its first answer, the most telling first."""
    by_model: dict[Scalar, list[Wanted]] = {}
    for test in wanted:
        if _place(test, device) is not None and not test.params.get("repeat") and not test.params.get("twin"):
            by_model.setdefault(test.model, []).append(test)
    return [answers for tests in by_model.values() if (answers := _answers_of(tests, device))]


def _answers_of(tests: Sequence[Wanted], device: str) -> list[list[Wanted]]:
    """Answers by the reference and fewer and fewer of the likely winners, at the smallest batch that has one."""
    timed = [test for test in tests if test.experiment in ("inference", "decode") and test.route != REFERENCE]
    if not timed:
        return []
    setting = min(timed, key=lambda test: test.batch).setting
    rivals = sorted((test for test in timed if test.setting == setting), key=lambda test: _place(test, device) or 0)
    routes = [REFERENCE, *dict.fromkeys(test.route for test in rivals)][:ANSWERED_BY]
    here = [test for test in tests if test.setting == setting or test.experiment in ("perplexity", "prefill")]
    return [[test for test in here if test.route in routes[:count]] for count in range(len(routes), 1, -1)]


def _rank(test: Wanted, device: str) -> tuple[int, int, int]:
    """Order after the first answers: likely winners, then by experiment; repeats after everything else."""
    place = _place(test, device)
    later = next((level for level, names in enumerate(LATER) if test.experiment in names), len(LATER))
    repeat = test.params.get("repeat") or 0
    if place is None or test.params.get("twin"):
        return (int(repeat), 1 + later, 0)
    return (int(repeat), 0, place)


def _kind(test: Wanted) -> str:
    return "language" if EXPERIMENTS[test.experiment].kind == "language" else test.experiment


def _place(test: Wanted, device: str) -> int | None:
    """Place of the route of ``test`` among the likely winners; None if it is none."""
    routes = FIRST_ROUTES.get((_kind(test), device), ())
    if _kind(test) == "language" and test.experiment not in LANGUAGE_ANSWER:
        return None
    return routes.index(test.route) if test.route in routes else None


def _together(chosen: Sequence[Wanted]) -> list[Wanted]:
    """Tests of one subject after one another, in the order in which their subjects were first chosen."""
    subjects = list(dict.fromkeys(test.subject for test in chosen))
    return sorted(chosen, key=lambda test: subjects.index(test.subject))


def _left_out(test: Wanted, purse: _Purse) -> LeftOut:
    price = purse.price([test])
    return LeftOut(test=test.test, reason=f"{purse.seconds:.0f} s were left of the minutes asked for", seconds=price)
