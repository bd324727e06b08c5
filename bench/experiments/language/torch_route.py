"""A language model in torch, by transformers' own ``generate`` and ``pipeline``."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import pipeline

from bench.core.errors import Unsupported
from bench.core.precisions import COMPILED_MODES
from bench.core.records import Case, Cold, Figure
from bench.core.workspace import Workspace
from bench.experiments.language.generation import (
    TokenClock,
    cache_arguments,
    check_compiled,
    end_tokens,
    generate,
    need_key_value_cache,
)
from bench.experiments.language.routes import Answer, LeastWork, Scored, Share
from bench.experiments.language.subject import check_place, check_weights, folder_of, load_model
from bench.experiments.modes import whats_converted
from bench.measure import memory, products
from bench.measure.clock import now
from bench.measure.quality import Window, nats_of
from bench.measure.reasons import Part, parts_after_first, parts_of
from bench.precision.converted import tensors_as_stored
from bench.runtimes.language_route import Generation
from bench.runtimes.route import Ran

OF_ATTENTION = ("aten::bmm", "aten::baddbmm", *products.ATTENTION)
"""Products of activations with each other: they involve no weight and grow with the context."""


class TorchRoute:
    """A language model of transformers, eager or with its decode steps compiled."""

    most_scored: int | None = None
    why_no_logits: str | None = None

    def __init__(self, case: Case, workspace: Workspace) -> None:
        self.subject = load_model(case, workspace)
        if case.experiment == "decode":
            need_key_value_cache(self.subject.model, case.model)
        self.device = self.subject.device
        self.config = self.subject.config
        self.facts: Mapping[str, Any] = self.subject.facts
        self.cold = Cold(load=self.subject.load_seconds)
        self.cache = "dynamic" if case.mode == "eager" else "static"
        self._case = case
        self._workspace = workspace
        self._parts: dict[int, list[Part]] = {}
        self._traced_steps: dict[int, float] = {}
        self._arguments = cache_arguments(self.subject, case, workspace)

    def generate(self, prompts: Tensor, new_tokens: int, at_first: Callable[[], None] | None = None) -> Generation:
        return generate(self.subject.model, prompts, new_tokens, self._arguments, at_first)

    def check_mode(self) -> None:
        check_compiled(self.subject, self._case)

    def check_weights(self) -> None:
        check_weights(self.subject.model, folder_of(self._workspace), self.subject.precision)

    def ran(self, prompts: Tensor) -> Ran:
        """Coverage of one eager step with one token per sequence: it has the products with weights of decoding."""
        size = self.subject.size
        ran = whats_converted(
            lambda: self.subject.model(prompts[:, :1], use_cache=False),
            self.subject.precision,
            self.subject.model,
            parameters=size.parameters,
            flops=2 * size.in_products * len(prompts),
            without=OF_ATTENTION,
        )
        if self._case.mode in COMPILED_MODES:
            return Ran(coverage=ran.coverage, absent={**ran.absent, "compute": "traced as an eager step"})
        return ran

    def least_work(self, prompts: Tensor) -> LeastWork:
        size = bytes_per_step(self.subject.model, self.config, *prompts.shape)
        flops = 2 * self.subject.size.in_products * len(prompts)
        return LeastWork(
            figures={
                "bytes_per_step": Figure(value=size, unit="B", exact=True),
                "flops_per_step": Figure(value=flops, unit="FLOP", exact=True),
            }
        )

    def python_share(self, prompts: Tensor, timed: Sequence[Generation]) -> Share:
        """All time outside of operators and compiled graphs, of the steps of one untimed generation with a profiler.

        Both times are of the same steps: beside a neighbour the traced ones may take longer than those that were timed.
        The profiler works between operators too, for 1 to 3 us each: the share is a little too large.
        """
        if self.device.type != "cpu":
            return Share(problem="measured on a CPU only: elsewhere operators return before their kernels end")
        tokens = len(timed[0].gaps) + 1
        inside = sum(part.seconds for part in self.parts(prompts, tokens))
        return Share(value=min(1.0, max(0.0, 1 - inside / self._traced_steps[tokens])))

    def parts(self, prompts: Tensor, new_tokens: int) -> list[Part]:
        if new_tokens in self._parts:
            return self._parts[new_tokens]
        shapes = [tuple(tensor.shape) for tensor in tensors_as_stored(self.subject.model)]

        def generation(at_first: Callable[[], None]) -> int:
            gaps = self.generate(prompts, new_tokens, at_first).gaps
            self._traced_steps[new_tokens] = statistics.mean(gaps)
            return len(gaps)

        if new_tokens == 1:
            self._parts[1] = parts_of(lambda: self.generate(prompts, 1), self.device, shapes)
        else:
            self._parts[new_tokens] = parts_after_first(generation, self.device, shapes)
        return self._parts[new_tokens]

    def one_token(self, prompts: Tensor) -> Callable[[], object] | None:
        if self._case.mode in COMPILED_MODES:  # its step runs only inside of `generate`
            return None
        kept = self.subject.model(prompts, use_cache=True).past_key_values
        return lambda: self.subject.model(prompts[:, -1:], past_key_values=kept, use_cache=True)

    def timed_score(
        self, ids: Sequence[int], batch: Sequence[Window], before: Sequence[int]
    ) -> tuple[list[Scored], float]:
        begin = now(self.device)
        scored = score(self.subject.model, ids, batch, self.device, before)
        return scored, now(self.device) - begin

    def answer(self, messages: Sequence[Mapping[str, str]], most: int) -> Answer:
        """Greedy answer of note 0's ``pipeline("text-generation", model=NAME, device_map="auto")``."""
        # Without a device it would go to the first GPU that there is, unless accelerate spread the model over several.
        model = self.subject.model
        placed = {} if getattr(model, "hf_device_map", None) else {"device": model.device}
        talker: Any = pipeline("text-generation", model=model, tokenizer=str(folder_of(self._workspace)), **placed)
        check_place(talker.model, self.device)
        if not talker.tokenizer.chat_template:
            raise Unsupported("the tokenizer has no chat template, so that this model is not made for conversations")
        clock = TokenClock(self.device)
        reply = talker(
            list(messages),
            max_new_tokens=most,
            do_sample=False,
            streamer=clock,
            pad_token_id=next(iter(end_tokens(model)), 0),
        )
        text: str = reply[0]["generated_text"][-1]["content"]
        return Answer(tokens=tuple(step[0] for step in clock.steps), text=text)

    def close(self) -> None:
        """Nothing is held outside of torch."""


def bytes_per_step(model: Any, config: Any, sequences: int, context: int) -> int:
    """Fewest bytes that a decode step reads: weights as stored, and keys and values of the context.

    Of an embedding that is not also the output head, only one row per sequence is read.
    """
    size = memory.bytes_of(tensors_as_stored(model))
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if embedding.data_ptr() != head.data_ptr():
        size -= memory.bytes_of([embedding]) - sequences * embedding.shape[1] * embedding.element_size()
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 0)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys_and_values = 2 * config.num_hidden_layers * heads * width * embedding.element_size()
    return int(size + sequences * context * keys_and_values)


def score(
    model: Any, ids: Sequence[int], batch: Sequence[Window], device: torch.device, before: Sequence[int] = ()
) -> list[Scored]:
    """Score the windows of ``batch``, run together, each after the unscored tokens ``before``.

    Shorter windows are padded at their end, which no scored token sees.
    """
    lengths = [len(before) + window.end - window.begin for window in batch]
    padded = torch.zeros(len(batch), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(padded)
    for row, (window, length) in enumerate(zip(batch, lengths, strict=True)):
        padded[row, :length] = torch.tensor([*before, *ids[window.begin : window.end]])
        mask[row, :length] = 1
    padded = padded.to(device)
    logits = model(padded, attention_mask=mask.to(device), use_cache=False).logits
    return [
        Scored(
            nats=tuple(nats_of(logits[row], padded[row], length, window.scored)),
            logits=logits[row, length - window.scored - 1 : length - 1].float().cpu().numpy(),
        )
        for row, (window, length) in enumerate(zip(batch, lengths, strict=True))
    ]
