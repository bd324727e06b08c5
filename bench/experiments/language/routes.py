"""A language model in the runtime of its case, as every language experiment sees it."""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

import models
from bench.core.errors import Unsupported
from bench.core.precisions import BASELINE
from bench.core.records import Case, Cold, Figure, digest_of, word
from bench.core.runtimes import REFERENCE, RUNTIMES, Reason
from bench.core.workspace import Workspace
from bench.experiments.language.subject import RANDOM, folder_of, quiet, size_of
from bench.experiments.modes import bits_of, precision_of
from bench.measure import machine, memory
from bench.measure.quality import Window, nats_of
from bench.measure.reasons import Part, memory_rate, reason_of
from bench.runtimes.language_route import Generation, LanguageOrder, LanguageRuntime, Logits, Stored, coverage_of
from bench.runtimes.route import Ran
from models.language_files import packaged_file

SPARE_TOKENS = 8
"""Room beyond what is asked for: a begin token, and what a server keeps for itself."""

TALK_TOKENS = 1024
"""Room for the questions of a conversation, and for the first answer in the second turn."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One window of a text, scored."""

    nats: tuple[float, ...]
    """Negative log-likelihood of each scored token."""
    logits: Logits | None
    """Logits that predicted each token, shape (scored, vocabulary); None where the runtime does not give them."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Share of a decode step, from 0 to 1, that passes in Python; or why it is unknown."""

    value: float | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One turn of a conversation."""

    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class LeastWork:
    """Least work of a decode step, in bytes and FLOPs."""

    figures: Mapping[str, Figure] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


class LanguageRoute(Protocol):
    """A language model at one precision in one runtime and mode."""

    device: torch.device
    config: Any
    """transformers' configuration of the language model."""
    most_scored: int | None
    """Tokens of the text after which no further window is scored; None is no limit."""
    why_no_logits: str | None
    cache: str
    """Kind of cache for keys and values: a flag of the row."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Arguments that every Measurement of this model has in common."""

    @property
    def cold(self) -> Cold:
        """Seconds of loading and converting."""

    def generate(self, prompts: Tensor, new_tokens: int, at_first: Callable[[], None] | None = None) -> Generation:
        """Exactly ``new_tokens`` greedy tokens for each of ``prompts``, shape (sequences, tokens).

        Args:
            at_first: called as soon as the first new token is there, inside of the next one's time.
        """

    def check_mode(self) -> None:
        """See, after the first generation, that it ran in the mode of the case."""

    def check_weights(self) -> None:
        """See that the weights are the checkpoint's, rounded.

        Raises:
            WrongConversion: one is further off than the format's rounding allows.
        """

    def ran(self, prompts: Tensor) -> Ran:
        """Parts that were really converted, from one untimed step for one token a sequence."""

    def least_work(self, prompts: Tensor) -> LeastWork:
        """Fewest bytes and FLOPs of a decode step."""

    def python_share(self, prompts: Tensor, timed: Sequence[Generation]) -> Share:
        """Share of a decode step in Python, from generations that were timed, and from untimed ones where needed."""

    def parts(self, prompts: Tensor, new_tokens: int) -> list[Part]:
        """Operators of a decode step with their seconds, from an untimed generation; of prefill if ``new_tokens`` is 1.

        Empty where the runtime tells none.
        """

    def one_token(self, prompts: Tensor) -> Callable[[], object] | None:
        """A decode step alone, after the prompt, for a trace; None where the whole generation is traced."""

    def timed_score(
        self, ids: Sequence[int], batch: Sequence[Window], before: Sequence[int]
    ) -> tuple[list[Scored], float]:
        """Score windows of ``ids``, run together, with the unscored tokens ``before`` in front of each.

        Returns:
            the windows, and the seconds that they took.
        """

    def answer(self, messages: Sequence[Mapping[str, str]], most: int) -> Answer:
        """Answer a conversation greedily, in ``most`` tokens or fewer."""

    def close(self) -> None:
        """Give back what the runtime holds."""


def route_of(case: Case, workspace: Workspace, *, fresh: bool = False) -> LanguageRoute:
    """Load the model of ``case`` in its runtime, converted first where that was not done before.

    Args:
        fresh: convert again even if the files of an earlier process are there.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: this machine, these versions or the runtime cannot run it so.
    """
    precision_of(case)
    if case.runtime == REFERENCE:
        from bench.experiments.language.torch_route import TorchRoute

        return TorchRoute(case, workspace)
    return RuntimeRoute(case, workspace, fresh=fresh)


def files_of(case: Case, workspace: Workspace) -> Path:
    """Folder of what the runtimes make of the model of ``case``: one for each content of the model's files."""
    return workspace.results / "converted" / f"{word(case.model)}-{digest_of(case.option('model_digest'))}"


def reason_in(route: LanguageRoute, prompts: Tensor, new_tokens: int, seconds: float, inside: float) -> Reason:
    """Where the time of a step goes.

    Args:
        new_tokens: of a generation; 1 for prefill.
        seconds: median of a step.
        inside: share of it inside the runtime, for one that tells none of its operators.
    """
    title = RUNTIMES[route.facts["case"].runtime].title
    parts = route.parts(prompts, new_tokens) or [Part(name=f"inside {title}", seconds=inside * seconds)]
    return reason_of(
        parts, seconds, weight_bytes=int(route.facts["weight_bytes"]), bytes_per_second=memory_rate(route.device)
    )


class RuntimeRoute:
    """A language model in a runtime other than torch."""

    def __init__(self, case: Case, workspace: Workspace, *, fresh: bool = False) -> None:
        self._precision = precision_of(case)
        self._title = RUNTIMES[case.runtime].title
        if case.batch_size != 1:
            raise Unsupported(f"{self._title} runs one sequence at a time here: --batch-sizes 1")
        quiet()
        self._case = case
        self._folder = folder_of(workspace)
        self._size = size_of(self._folder)
        self.config = AutoConfig.from_pretrained(str(self._folder), local_files_only=True).get_text_config(decoder=True)
        self.device = torch.device(case.device)
        self._model = prepared_model(case, _order(case, workspace, fresh=fresh))
        self.why_no_logits: str | None = self._model.why_no_logits
        self.most_scored: int | None = self._model.most_scored
        self.cache = "dynamic"

    @functools.cached_property
    def facts(self) -> Mapping[str, Any]:
        stored, spec = self._stored, models.language_model(self._case.model)
        ran = self.ran(torch.empty(0))
        return {
            "case": self._case,
            "weight_bytes": stored.weight_bytes,
            "serialized_bytes": stored.serialized_bytes,
            "coverage": ran.coverage,
            "flags": {
                **machine.current_flags(),
                "library": self._title,
                "compute": ran.compute,
                **self._model.flags(),
            },
            "figures": {
                "parameters": Figure(value=self._size.parameters, unit="parameters", exact=True),
                **bits_of(self._precision),
            },
            "absent": {
                "energy_joules_per_item": "see decode",
                "quality": RANDOM if spec.random else "see perplexity",
                **ran.absent,
                **memory.absent_peaks(self.device),
            },
            "notes": (*((spec.caveat,) if spec.caveat else ()), *stored.notes),
        }

    @functools.cached_property
    def _stored(self) -> Stored:
        """Asked for after the first call, when the runtime has chosen its kernels."""
        return self._model.stored()

    @property
    def cold(self) -> Cold:
        converting = self._case.experiment == "load"  # the others read the files that it wrote
        return Cold(load=self._model.load_seconds, convert=self._model.convert_seconds if converting else None)

    def generate(self, prompts: Tensor, new_tokens: int, at_first: Callable[[], None] | None = None) -> Generation:
        return self._model.generate(prompts[0].tolist(), new_tokens, at_first)

    def check_mode(self) -> None:
        """There is one mode."""

    def check_weights(self) -> None:
        """Their layout is the runtime's own: outputs tell."""

    def ran(self, prompts: Tensor) -> Ran:
        stored = self._stored
        absent = {}
        if stored.compute is None and stored.coverage_problem:
            absent["compute"] = stored.coverage_problem
        if self._precision.name == BASELINE:
            reason = "fp32 is the baseline: nothing is converted"
            return Ran(compute=stored.compute, absent={**absent, "coverage": reason})
        if stored.coverage_problem:
            absent["coverage FLOPs"] = stored.coverage_problem
        coverage = coverage_of(stored, parameters=self._size.parameters, in_products=self._size.in_products)
        return Ran(coverage=coverage, compute=stored.compute, absent=absent)

    def least_work(self, prompts: Tensor) -> LeastWork:
        """Weights once, as stored. Keys and values are left out: their number format is the runtime's own."""
        return LeastWork(
            figures={
                "bytes_per_step": Figure(value=self._stored.weight_bytes, unit="B", exact=True),
                "flops_per_step": Figure(value=2 * self._size.in_products, unit="FLOP", exact=True),
            }
        )

    def python_share(self, prompts: Tensor, timed: Sequence[Generation]) -> Share:
        total = sum(sum(each.gaps) for each in timed)
        inside = sum(each.inside or 0.0 for each in timed)
        return Share(value=min(1.0, max(0.0, 1 - inside / total)))

    def parts(self, prompts: Tensor, new_tokens: int) -> list[Part]:
        return self._model.parts(prompts[0].tolist(), new_tokens)

    def one_token(self, prompts: Tensor) -> Callable[[], object] | None:
        return None

    def timed_score(
        self, ids: Sequence[int], batch: Sequence[Window], before: Sequence[int]
    ) -> tuple[list[Scored], float]:
        begin = time.perf_counter()
        scored = [self._score(ids, window, before) for window in batch]
        return scored, time.perf_counter() - begin

    def answer(self, messages: Sequence[Mapping[str, str]], most: int) -> Answer:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(self._folder), local_files_only=True)
        if not tokenizer.chat_template:
            raise Unsupported("the tokenizer has no chat template, so that this model is not made for conversations")
        prompt = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        tokens = self._model.answer(prompt, most, ends)
        return Answer(tokens=tuple(tokens), text=tokenizer.decode(tokens, skip_special_tokens=True))

    def close(self) -> None:
        self._model.close()

    def _score(self, ids: Sequence[int], window: Window, before: Sequence[int]) -> Scored:
        sequence = [*before, *ids[window.begin : window.end]]
        if self.why_no_logits:
            return Scored(nats=tuple(self._model.nats(sequence, window.scored)), logits=None)
        logits = self._model.logits(sequence)
        nats = nats_of(torch.from_numpy(logits), torch.tensor(sequence), len(sequence), window.scored)
        return Scored(nats=tuple(nats), logits=logits[-window.scored - 1 : -1])


def prepared_model(case: Case, order: LanguageOrder) -> LanguageRuntime:
    entry = RUNTIMES[case.runtime].language_entry
    if entry is None:
        raise Unsupported(f"{RUNTIMES[case.runtime].title} does not run language models here")
    module, _, function = entry.partition(":")
    prepare: Callable[[LanguageOrder], LanguageRuntime] = getattr(importlib.import_module(module), function)
    return prepare(order)


def _order(case: Case, workspace: Workspace, *, fresh: bool) -> LanguageOrder:
    spec = models.language_model(case.model)
    asked = (int(case.option(name) or 0) for name in ("prompt_tokens", "new_tokens", "context"))
    return LanguageOrder(
        name=case.model,
        checkpoint=folder_of(workspace),
        gguf=packaged_file(spec.location) if spec.origin == "package" else None,
        layers=spec.layers,
        precision=precision_of(case),
        threads=case.threads,
        room=sum(asked) + SPARE_TOKENS + (TALK_TOKENS if case.experiment == "chat" else 0),
        files=files_of(case, workspace),
        fresh=fresh,
    )
