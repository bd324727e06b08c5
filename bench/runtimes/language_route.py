"""Interface of a language model in a runtime, and the order that a runtime prepares one by."""

from __future__ import annotations

import itertools
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.core.errors import Unsupported
from bench.core.precisions import Precision
from bench.core.records import Coverage, Scalar
from bench.measure.reasons import Part

CONVERSION = "conversion.json"
"""File beside a converted model: the seconds that making it took."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LanguageOrder:
    """A language model to prepare for a runtime."""

    name: str
    checkpoint: Path
    """Folder that transformers loads the model from, in float32, with its tokenizer."""
    gguf: Path | None
    """The published GGUF file that the checkpoint was expanded from; None where there is none."""
    layers: int | None
    """Layers of that file that the model keeps; None is all of them."""
    precision: Precision
    threads: int
    room: int
    """Most tokens that a sequence will have, prompt and answer together."""
    files: Path
    """Folder of the runtimes' files of this model: each route has folders of its own in it."""
    fresh: bool
    """True to convert again even if the files are there: figures of the first process are cold."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One generation: every sequence got the same number of new tokens."""

    first_token: float
    """Seconds from the call to the first new token."""
    gaps: tuple[float, ...]
    """Seconds from each step's tokens to the next step's."""
    inside: float | None = None
    """Seconds of all gaps together that passed inside the runtime, not in Python; None where it is unknown."""
    tokens: tuple[int, ...] = ()
    """New tokens of the first sequence, where they are known."""
    cache: str | None = None
    """Kind of cache that was used, read from the result; None where the runtime does not tell."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The weights of a route, as its files hold them."""

    weight_bytes: int
    """Payload, scales and zero points."""
    serialized_bytes: int
    """The file or files that the runtime loads."""
    low_parameters: int
    """Weights held in as few bits as the precision means."""
    low_products: int
    """Those of them in matrix products whose arithmetic ran in as few bits."""
    compute: str | None
    """Number format in which most of the arithmetic ran; None where the runtime does not tell."""
    coverage_problem: str | None = None
    """Reason why the arithmetic is unknown; None where it is known."""
    notes: tuple[str, ...] = ()


class LanguageRuntime(Protocol):
    """A language model at one precision in one runtime, for one sequence at a time."""

    convert_seconds: float | None
    """Seconds of all steps from the checkpoint to the runtime's files; None where nothing is converted."""
    load_seconds: float
    """Seconds from the runtime's files to a model that takes tokens."""
    why_no_logits: str | None
    """Reason why `nats` is asked for and not `logits`; None if `logits` can be."""
    most_scored: int | None
    """Tokens of a text after which no further window is scored, where scoring is slow; None is no limit."""

    def generate(
        self, prompt: Sequence[int], new_tokens: int, at_first: Callable[[], None] | None = None
    ) -> Generation:
        """Exactly ``new_tokens`` greedy tokens after ``prompt``, whatever they are, with nothing kept from before.

        Args:
            at_first: called as soon as the first new token is there, inside of the next one's time.
        """

    def answer(self, prompt: Sequence[int], most: int, ends: Sequence[int]) -> list[int]:
        """Greedy tokens after ``prompt``: up to the first of ``ends``, which is included, or ``most`` of them."""

    def logits(self, ids: Sequence[int]) -> Logits:
        """Logits of every position, shape (tokens, vocabulary): row i predicts token i + 1.

        Raises:
            NotImplementedError: ``why_no_logits`` tells why.
        """

    def nats(self, ids: Sequence[int], scored: int) -> list[float]:
        """Negative log-likelihood, in nats, of each of the last ``scored`` tokens.

        Raises:
            NotImplementedError: `logits` gives more.
        """

    def parts(self, prompt: Sequence[int], new_tokens: int) -> list[Part]:
        """Operators of a decode step, or of prefill if ``new_tokens`` is 1, untimed; empty where nothing tells them."""

    def stored(self) -> Stored:
        """Weights and arithmetic, as files and the runtime's own graph tell them."""

    def flags(self) -> dict[str, Scalar]:
        """Settings of the runtime that shape numbers, as it tells them."""

    def close(self) -> None:
        """Give back what the runtime holds."""


class StepClock:
    """Times of the tokens of one generation, and how much of it passed inside the runtime."""

    def __init__(self, at_first: Callable[[], None] | None = None) -> None:
        self._at_first = at_first
        self._begin = time.perf_counter()
        self._inside = 0.0
        self._times: list[float] = []

    def inside(self, seconds: float) -> None:
        """Count seconds of a step inside the runtime. Those before the first token are prefill, and left out."""
        if self._times:
            self._inside += seconds

    def token(self) -> None:
        """A token is there."""
        self._times.append(time.perf_counter())
        if self._at_first is not None and len(self._times) == 1:
            self._at_first()

    def generation(self, tokens: Iterable[int], *, inside: float | None = None) -> Generation:
        """The generation that was timed.

        Args:
            tokens: those that came.
            inside: seconds inside the runtime, where the runtime counts them itself.

        Raises:
            RuntimeError: no token came.
        """
        if not self._times:
            raise RuntimeError("a generation gave no token")
        return Generation(
            first_token=self._times[0] - self._begin,
            gaps=tuple(later - earlier for earlier, later in itertools.pairwise(self._times)),
            inside=self._inside if inside is None else inside,
            tokens=tuple(tokens),
        )


class StepByStep(ABC):
    """Generations of a runtime that gives one token a call, which is timed here."""

    @abstractmethod
    def greedy(self, prompt: Sequence[int], most: int, clock: StepClock) -> Iterator[int]:
        """``most`` tokens after ``prompt``, as ``clock`` sees them. An end token does not end it: that is the
        caller's to see."""

    def generate(
        self, prompt: Sequence[int], new_tokens: int, at_first: Callable[[], None] | None = None
    ) -> Generation:
        clock = StepClock(at_first)
        return clock.generation(list(self.greedy(prompt, new_tokens, clock)))

    def answer(self, prompt: Sequence[int], most: int, ends: Sequence[int]) -> list[int]:
        tokens: list[int] = []
        for token in self.greedy(prompt, most, StepClock()):
            tokens.append(token)
            if token in ends:
                break
        return tokens


def coverage_of(stored: Stored, *, parameters: int, in_products: int) -> Coverage:
    """Coverage of a decode step for one token.

    Args:
        parameters: of the model before it was converted.
        in_products: weights that each token is multiplied with, the output head's among them.
    """
    return Coverage(
        quantized_parameters=min(stored.low_parameters, parameters),
        total_parameters=parameters,
        quantized_flops=None if stored.coverage_problem else 2 * min(stored.low_products, in_products),
        total_flops=2 * in_products,
    )


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Seconds of the steps from a checkpoint to the files of a route."""

    steps: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return sum(self.steps.values())

    def write(self, folder: Path) -> None:
        (folder / CONVERSION).write_text(json.dumps(dict(self.steps)))

    @staticmethod
    def read(folder: Path) -> Conversion:
        """The conversion that `write` left in ``folder``."""
        steps: dict[str, Any] = json.loads((folder / CONVERSION).read_text())
        return Conversion(steps={name: float(seconds) for name, seconds in steps.items()})


def check_threads(title: str, found: int, wanted: int) -> None:
    """See that a runtime computes in as many threads as it was given.

    Raises:
        Unsupported: it took another number.
    """
    if found != wanted:
        raise Unsupported(f"{title} computes in {found} threads in place of {wanted}")
