"""The cases of language models: parameters of their tests, and the case of each. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import models
from bench.core.budgets import Language
from bench.core.experiments import EXPERIMENTS, LANGUAGE_EXPERIMENTS
from bench.core.precisions import PRECISIONS
from bench.core.records import Case, Scalar
from bench.plan.cases import make_case
from bench.plan.plan import Plan


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
            if EXPERIMENTS[experiment].answers and (random or repeat):
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
    plan: Plan, *, experiment: str, model: str, precision: str, mode: str, batch_size: int, prompt: int, repeat: int
) -> Case:
    """The case of one language experiment. ``prompt`` is the prompt's length in tokens, 0 where there is none."""
    assert plan.language is not None
    return make_case(
        plan,
        experiment,
        model=model,
        dataset=plan.text.name,
        image_size=0,
        precision=precision,
        mode=mode,
        batch_size=batch_size,
        repeat=repeat,
        options={**_options(plan, plan.language, experiment, prompt), "model_digest": plan.model_digests.get(model)},
    )


def _options(plan: Plan, language: Language, experiment: str, prompt: int) -> dict[str, Scalar]:
    text = {"text_digest": plan.text.digest, "text": str(plan.text.file) if plan.text.file else None}
    timed = {**text, **dict(plan.sampling), "prompt_tokens": prompt}
    windows = {"context": language.context, "stride": language.stride, "text_tokens": language.text_tokens}
    options: dict[str, dict[str, Scalar]] = {
        "prefill": timed,
        "decode": {**timed, "new_tokens": language.new_tokens},
        "perplexity": {**text, **windows},
        "chat": {"new_tokens": language.chat_tokens},
    }
    return options.get(experiment, {})


def _language_rows(language: Language, experiment: str) -> list[tuple[str, int, int, str]]:
    """Mode, batch size, prompt length and precision of each row, each once."""
    prompts: tuple[int, ...] = (0,)
    if experiment == "prefill":
        prompts = language.prompt_tokens
    if experiment == "decode":
        prompts = language.prompt_tokens[:1]
    once = experiment not in ("prefill", "decode")
    places = {
        (mode, size, prompt, precision): None
        for rows in language.rows
        for mode in (rows.modes if experiment == "decode" else ("eager",))
        for size in ((1,) if once else rows.batch_sizes)
        for prompt in prompts
        for precision in rows.precisions
        if PRECISIONS[precision].load
    }
    return sorted(places, key=lambda row: (row[1], row[2], row[0] != "eager"))
