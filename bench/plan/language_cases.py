"""The cases of language models: parameters of their tests, and the case of each. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import models
from bench.core.budgets import Language
from bench.core.precisions import PRECISIONS
from bench.core.records import Case, Scalar

if TYPE_CHECKING:
    from bench.plan.plan import Plan

LANGUAGE_EXPERIMENTS = ("load", "prefill", "decode", "perplexity", "chat")
"""In the order in which they run."""
ANSWERS = ("perplexity", "chat")
"""Experiments about what a model says: of random weights that means nothing."""


def language_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """Parameters of each language case, those that will be compared one after another.

    What does not depend on chance (perplexity, chat) is measured once; prefill is never compiled: see there.
    """
    language = plan.language
    if language is None:
        return
    for repeat, model in itertools.product(range(plan.repeats), language.models):
        random = models.language_model(model).random
        for experiment in LANGUAGE_EXPERIMENTS:
            if experiment in ANSWERS and random:
                continue
            if repeat and experiment != "load":  # once, or in sets
                continue
            for mode, size, prompt, precision in _language_rows(language, experiment):
                yield {
                    "experiment": experiment,
                    "model": model,
                    "precision": precision,
                    "mode": mode,
                    "batch_size": size,
                    "prompt": prompt,
                    "repeat": repeat,
                }


def language_case(
    plan: Plan, experiment: str, *, model: str, precision: str, mode: str, batch_size: int, prompt: int, repeat: int
) -> Case:
    """The case of one language experiment. ``prompt`` is the prompt's length in tokens, 0 where there is none."""
    assert plan.language is not None
    language = plan.language
    options: dict[str, Scalar] = {}
    if experiment in ("prefill", "decode"):
        options = {**dict(plan.sampling), "prompt_tokens": prompt}
    if experiment == "decode":
        options["new_tokens"] = language.new_tokens
    if experiment == "perplexity":
        options = {"context": language.context, "stride": language.stride, "text_tokens": language.text_tokens}
    if experiment == "chat":
        options = {"new_tokens": language.chat_tokens}
    options["model_digest"] = plan.model_digests.get(model)
    if experiment in ("prefill", "decode", "perplexity"):
        options |= {"text_digest": plan.text.digest, "text": str(plan.text.file) if plan.text.file else None}
    return Case(
        experiment=experiment,
        model=model,
        dataset=plan.text.name,
        image_size=0,
        device=plan.device,
        threads=plan.threads,
        budget=plan.budget.name,
        precision=precision,
        mode=mode,
        batch_size=batch_size,
        repeat=repeat,
        options=tuple(sorted((name, value) for name, value in options.items() if value is not None)),
    )


def _language_rows(language: Language, experiment: str) -> list[tuple[str, int, int, str]]:
    """Mode, batch size, prompt length and precision of each row, each once."""
    prompts: tuple[int, ...] = (0,)
    if experiment == "prefill":
        prompts = language.prompt_tokens
    if experiment == "decode":
        prompts = language.prompt_tokens[:1]
    once = experiment not in ("prefill", "decode")
    found = {
        (mode, size, prompt, precision): None
        for rows in language.rows
        for mode in (rows.modes if experiment == "decode" else ("eager",))
        for size in ((1,) if once else rows.batch_sizes)
        for prompt in prompts
        for precision in rows.precisions
        if PRECISIONS[precision].load
    }
    return sorted(found, key=lambda row: (row[1], row[2], row[0] != "eager"))
