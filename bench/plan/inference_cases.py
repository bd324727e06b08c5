"""The cases of inference: networks, single layers, language models, and the machine that runs them. No torch."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator
from typing import Any

import models
from bench.core.amounts import Language
from bench.core.budgets import FEATURE_SIDE
from bench.core.experiments import EXPERIMENTS, LANGUAGE_EXPERIMENTS
from bench.core.precisions import BASELINE, MIXED
from bench.core.quality import MOST_DROP
from bench.core.records import Case, Measurement, Outcome, Scalar
from bench.core.runtimes import REFERENCE, precisions_of
from bench.core.turns import TWIN
from bench.plan.plan import NO_DATA, Plan, make_case, recipes_of
from bench.plan.training_cases import largest_compared

GAIN = 1.03
"""Images a second over those at half the batch size, from which on a sweep goes on."""


def inference_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    for model in plan.models:
        for image_size in image_sizes(plan, model):
            for runtime, mode, batch_size, precision in rows_of(plan, model):
                row = {
                    "model": model,
                    "image_size": image_size,
                    "runtime": runtime,
                    "precision": precision,
                    "mode": mode,
                    "batch_size": batch_size,
                }
                yield {**row, "twin": 0}
                if model in plan.budget.twins and (runtime, mode, precision) == (REFERENCE, "eager", BASELINE):
                    yield {**row, "twin": 1}


def rows_of(plan: Plan, model: str) -> list[tuple[str, str, int, str]]:
    """Runtime, mode, batch size and precision of each row of ``model``, each once.

    All routes of one batch size run together, since they are compared. The largest batch size comes first, since its
    predictions serve the others.
    """
    of_model = [rows for rows in plan.rows if rows.models is None or model in rows.models]
    places = {
        (rows.runtime, mode, size, precision): None
        for rows in of_model
        for mode in rows.modes
        for size in rows.batch_sizes
        for precision in rows.precisions
        if precision in precisions_of(rows.runtime, "classifiers")
    }
    modes = list(dict.fromkeys((runtime, mode) for runtime, mode, _, _ in places))
    rising = 1 if plan.sweeps else -1  # a sweep ends by what smaller batches gave
    return sorted(places, key=lambda row: (rising * row[2], modes.index((row[0], row[1]))))


def why_sweep_ended(case: Case, outcomes: Iterable[Outcome]) -> str | None:
    """Reason why a sweep does not come to the batch size of ``case``; None if it does.

    Args:
        outcomes: of the smaller batch sizes, among others.
    """
    half = case.batch_size // 2
    if case.experiment != "inference" or not half:
        return None
    rates: dict[int, dict[tuple[str, str, str], float]] = {}
    for one in outcomes:
        of_it = (one.case.experiment, one.case.model, one.case.image_size) == ("inference", case.model, case.image_size)
        if of_it and isinstance(one, Measurement):
            route = (one.case.runtime, one.case.precision, one.case.mode)
            rates.setdefault(one.case.batch_size, {})[route] = one.case.batch_size / statistics.median(one.seconds)
    before, last = rates.get(half // 2, {}), rates.get(half, {})
    if not last:
        return f"the sweep ended: no route ran at batch {half}"
    if half > 1 and all(rate < GAIN * before.get(route, 0.0) for route, rate in last.items()):
        return f"the sweep ended: batch {half} gave no route more images a second than batch {half // 2}"
    return None


def image_sizes(plan: Plan, model: str) -> tuple[int, ...]:
    """Image sizes at which ``model`` is timed: its own, and the large ones of the budget for torchvision's."""
    own = plan.image_size(model)
    if plan.user.image_size or models.classifier(model).group != "torchvision":
        return (own,)
    large = tuple(size for size in plan.budget.large_image_sizes if size != own)
    return large if large and plan.budget.large_images_alone else (own, *large)


def inference_case(
    plan: Plan,
    *,
    model: str,
    image_size: int,
    mode: str,
    batch_size: int,
    precision: str,
    runtime: str = REFERENCE,
    twin: int = 0,
) -> Case:
    """The case that times ``model`` and, where its weights were trained, judges it.

    Args:
        twin: 1 for the route named again, which shows the noise of its set.
    """
    weights_given = plan.user.weights or models.classifier(model).pretrained
    return make_case(
        plan,
        "inference",
        model=model,
        image_size=image_size,
        recipe=None if weights_given else recipes_of(plan, model)[0],
        runtime=runtime,
        precision=precision,
        mode=mode,
        batch_size=batch_size,
        options={
            TWIN: bool(twin) or None,
            MOST_DROP: plan.max_drop if precision == MIXED else None,
            **dict(plan.sampling),
            **plan.user.options,
            "test_images": plan.test_images or plan.budget.test_images,
            "judging_seconds": None if plan.test_images else plan.budget.judging_seconds,
        },
    )


def largest_case(plan: Plan) -> Case:
    """A case with the largest images: the data set is decoded at that size, which serves the smaller ones."""
    # What comes with its weights in a budget looks at photographs, whatever the data set.
    own = [model for model in plan.models if plan.layers is None or models.classifier(model).pretrained is None]
    sides = {max(image_sizes(plan, model)): model for model in own or plan.models}
    return _first_case(plan, sides[max(sides)], max(*sides, largest_compared(plan)))


def user_cases(plan: Plan) -> list[Case]:
    """One case for each network that is the user's own, or has the user's weights."""
    own = [model for model in plan.models if ":" in model or plan.user.options]
    return [_first_case(plan, model, plan.image_size(model)) for model in own]


def _first_case(plan: Plan, model: str, size: int) -> Case:
    return inference_case(plan, model=model, image_size=size, precision="fp32", mode="eager", batch_size=2)


def layer_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    layers = plan.layers
    if layers is None:
        return
    for kind, widths in layers.widths.items():
        for width, batch_size, mode in itertools.product(widths, layers.batch_sizes, layers.modes):
            for precision in layers.precisions:
                yield {"kind": kind, "width": width, "precision": precision, "mode": mode, "batch_size": batch_size}


def layer_case(plan: Plan, *, kind: str, width: int, mode: str, batch_size: int, precision: str) -> Case:
    """The case that times one layer of ``kind``, with ``width`` inputs and outputs."""
    return make_case(
        plan,
        "layers",
        model=kind,
        image_size=1 if kind == "linear" else FEATURE_SIDE,
        precision=precision,
        mode=mode,
        batch_size=batch_size,
        options={**dict(plan.sampling), "width": width},
    )


def ceilings_case(plan: Plan) -> Case:
    """The case that measures the limits of the hardware."""
    return make_case(plan, "ceilings", model="hardware", dataset=NO_DATA, image_size=0)


def language_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """Parameters of each language case, those that will be compared one after another.

    What does not depend on chance (perplexity, chat) is measured once, and so is what takes turns, in sets. Prefill is
    never compiled: see there.
    """
    language = plan.language
    if language is None:
        return
    for repeat, model in itertools.product(range(plan.repeats), language.models):
        random = models.language_model(model).random
        for experiment in LANGUAGE_EXPERIMENTS:
            if EXPERIMENTS[experiment].answers and random:
                continue
            if repeat and (EXPERIMENTS[experiment].answers or EXPERIMENTS[experiment].takes_turns):
                continue
            for runtime, mode, size, prompt, precision in _language_rows(language, experiment, model):
                yield {
                    "experiment": experiment,
                    "model": model,
                    "runtime": runtime,
                    "precision": precision,
                    "mode": mode,
                    "batch_size": size,
                    "prompt": prompt,
                    "repeat": repeat,
                }


def language_case(
    plan: Plan,
    *,
    experiment: str,
    model: str,
    precision: str,
    mode: str,
    batch_size: int,
    prompt: int,
    repeat: int,
    runtime: str = REFERENCE,
) -> Case:
    """The case of one language experiment. ``prompt`` is the prompt's length in tokens, 0 where there is none."""
    assert plan.language is not None
    return make_case(
        plan,
        experiment,
        model=model,
        dataset=plan.text.name,
        image_size=0,
        runtime=runtime,
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


def _language_rows(language: Language, experiment: str, model: str) -> list[tuple[str, str, int, int, str]]:
    """Runtime, mode, batch size, prompt length and precision of each row, each once.

    Only torch has modes, of which one decodes otherwise; the other experiments run eagerly there.
    """
    if experiment == "chat" and not language.chat_tokens:
        return []
    prompts: tuple[int, ...] = (0,)
    if experiment == "prefill":
        prompts = language.prompt_tokens if language.prefill else ()
    if experiment == "decode":
        prompts = language.prompt_tokens[:1]
    once = experiment not in ("prefill", "decode")
    places = {
        (rows.runtime, mode, size, prompt, precision): None
        for rows in language.rows
        if rows.models is None or model in rows.models
        for mode in (rows.modes if experiment == "decode" or rows.runtime != REFERENCE else ("eager",))
        for size in ((1,) if once else rows.batch_sizes)
        for prompt in prompts
        for precision in rows.precisions
        if precision in precisions_of(rows.runtime, "languages")
    }
    return sorted(places, key=lambda row: (row[2], row[3], row[1] == "compiled"))
