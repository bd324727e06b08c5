"""The cases of trainings and of their comparisons: parameters of their tests, and the case of each. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import models
from bench.core.comparisons import (
    ARITHMETIC_OPTIONS,
    CAUTIOUS,
    COMPARISONS,
    CUDA_LADDER,
    FAST,
    LADDER,
    SCOPES,
    TARGET_ACCURACY,
    Arithmetic,
    Comparisons,
)
from bench.core.recipes import RECIPES, recipe_for
from bench.core.records import Case, Scalar
from bench.plan.cases import make_case, recipes_of
from bench.plan.plan import Plan
from models.ablations import ABLATIONS

LADDER_EPOCHS = 8
"""A ladder's trainings are cut into so many epochs. Each is a turn and a sample of its speed."""
IMAGENET_SIZE = 224


def arithmetic_options(arithmetic: Arithmetic) -> dict[str, Scalar]:
    """Options of a case that state ``arithmetic``; pipeline, mode and precision have fields of their own."""
    named = {name: getattr(arithmetic, name) for name in ARITHMETIC_OPTIONS}
    return {name: value for name, value in named.items() if value is not None and value is not False}


def usual_arithmetic(model: str) -> Arithmetic:
    """Arithmetic of a training where nothing is compared."""
    return CAUTIOUS if ":" in model else FAST


def training_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    for seed in plan.seeds:
        for model in plan.trained:
            for recipe in recipes_of(plan, model):
                yield {"model": model, "recipe": recipe, "seed": seed}


def training_case(plan: Plan, *, model: str, recipe: str, seed: int) -> Case:
    """The training of ``model`` whose weights inference reads. Its repeats are its seeds."""
    images = plan.train_images or plan.budget.train_images_by_model.get(model, plan.budget.train_images)
    epochs = plan.budget.epochs
    options: dict[str, Scalar] = {
        "epoch_images": -(-images // epochs) if images and epochs else None,
        "classes": plan.user.classes,
        "normalize": plan.user.normalize,
    }
    size = plan.image_size(model)
    return _training(
        plan, "training", model, usual_arithmetic(model), seed, images, options, recipe=recipe, image_size=size
    )


def needed_training(plan: Plan, model: str, image_size: int) -> Case | None:
    """The training whose weights ``model`` is judged with at ``image_size``.

    None where weights are given, nothing is trained, or the images have another size than in training.
    """
    if plan.user.weights or model not in plan.trained or image_size != plan.image_size(model):
        return None
    return training_case(plan, model=model, recipe=recipes_of(plan, model)[0], seed=plan.seeds[0])


def ladder_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """All rungs of one seed after another, so that what is compared is interleaved."""
    for model in _named(plan, _of(plan).ladder):
        for seed in _seeds(plan):
            for place in range(len(LADDER)):
                yield {"model": model, "rung": place, "seed": seed}


def ladder_case(plan: Plan, *, model: str, rung: int, seed: int) -> Case:
    """The training of ``model`` at the ``rung``-th place of the ladder."""
    position, arithmetic = LADDER[rung]
    images = plan.train_images or _of(plan).ladder[model] * (1 if plan.device == "cpu" else CUDA_LADDER)
    options: dict[str, Scalar] = {"rung": position, "epoch_images": -(-images // LADDER_EPOCHS)}
    return _training(plan, "ladder", model, arithmetic, seed, images, options)


def step_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    for repeat in range(plan.repeats):
        for model in _named(plan, _of(plan).steps):
            for place in _rungs_of_steps():
                yield {"model": model, "rung": place, "repeat": repeat}


def step_case(plan: Plan, *, model: str, rung: int, repeat: int) -> Case:
    """The training step of ``model``, timed by phases."""
    return _fed(plan, "training_step", model, LADDER[rung][1], repeat=repeat, options=dict(plan.sampling))


def loading_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """Every number of workers, and the tensor pipeline as ``tensor``, for each thing to load."""
    chosen = _of(plan)
    if plan.layers is None or not chosen.loading_images:  # networks were named: their loading is that of the data set
        return
    sources = [("images", chosen.loading_images, "none"), *(("random", items, "none") for items in chosen.items)]
    sources += [("images", chosen.loading_images, model) for model in chosen.loading_steps]
    for repeat in range(plan.repeats):
        for source, items, model in sources:
            for feeder in (*(f"workers{count}" for count in chosen.workers), "tensor"):
                yield {"source": source, "items": items, "model": model, "feeder": feeder, "repeat": repeat}


def loading_case(plan: Plan, *, source: str, items: int, model: str, feeder: str, repeat: int) -> Case:
    """One way of loading, alone (model ``none``) or with a step of ``model``."""
    recipe = recipe_for("cnn_small" if model == "none" else model)
    workers = int(feeder.removeprefix("workers")) if feeder != "tensor" else None
    pipeline = "tensor" if workers is None else "dataloader"
    options = {"source": source, "items": items, "workers": workers, **dict(plan.sampling)}
    return make_case(
        plan,
        "loading",
        model=model,
        image_size=32,
        recipe=recipe.name,
        pipeline=pipeline,
        batch_size=recipe.batch_size,
        repeat=repeat,
        options=options,
    )


def transfer_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    chosen = _of(plan)
    sources = [(model, "five_classes") for model in _named(plan, chosen.pretraining)]
    sources += [(model, "imagenet") for model in _named(plan, chosen.imagenet)]
    for seed in _seeds(plan):
        for model, source in sources:
            for scope in SCOPES:
                yield {"model": model, "source": source, "scope": scope, "seed": seed}


def transfer_case(plan: Plan, *, model: str, source: str, scope: str, seed: int) -> Case:
    """Training on the second half of the classes, or on all of them from ImageNet's weights."""
    options: dict[str, Scalar] = {"source": source, "scope": scope}
    images = plan.train_images or _of(plan).transfer
    if source == "imagenet":
        weights = plan.imagenet[model].options if model in plan.imagenet else {}
        size = {"image_size": IMAGENET_SIZE, "recipe": "note2_transfer"}
        return _training(plan, "transfer", model, FAST, seed, images, {**options, **weights}, **size)
    recipe, half = _transfer_recipe(model), {**options, "half": 2}
    return _training(plan, "transfer", model, FAST, seed, images, half, recipe=recipe)


def _transfer_recipe(model: str) -> str | None:
    """One for every scope; None where the network's own does for fine-tuning too."""
    name = f"transfer_{model}"
    return name if name in RECIPES else None


def pretraining_case(plan: Plan, *, model: str, seed: int) -> Case:
    """Training on the first half of the classes, whose weights a transfer begins with."""
    images = plan.train_images or _of(plan).pretraining[model]
    return _training(plan, "pretraining", model, FAST, seed, images, {"half": 1})


def largest_compared(plan: Plan) -> int:
    """The largest side of images, in pixels, that a comparison asks for by itself; 0 where none does."""
    return IMAGENET_SIZE if _named(plan, _of(plan).imagenet) else 0


def ablation_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    for seed in _seeds(plan):
        for question in _of(plan).ablations:
            for variant, changed in ABLATIONS[question].items():
                if _is_about(plan, changed.model):
                    yield {"model": changed.model, "question": question, "variant": variant, "seed": seed}


def ablation_case(plan: Plan, *, model: str, question: str, variant: str, seed: int) -> Case:
    """The training of one variant. All variants of a question have one recipe: their network's, or one for any."""
    networks = {changed.model for changed in ABLATIONS[question].values()}
    recipe = recipe_for(model) if len(networks) == 1 else RECIPES["note4_torchvision"]
    images = plan.train_images or _of(plan).ablations[question]
    options: dict[str, Scalar] = {"question": question, "variant": variant}
    return _training(plan, "ablation", model, FAST, seed, images, options, recipe=recipe.name)


def speedrun_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    for model in _named(plan, _of(plan).speedruns):
        for seed in _asked_seeds(plan, _of(plan).speedrun_seeds):
            yield {"model": model, "seed": seed}


def speedrun_case(plan: Plan, *, model: str, seed: int) -> Case:
    """A training on time, with everything that makes it fast on the device of the run."""
    on_gpu = plan.device != "cpu"
    arithmetic = LADDER[-1][1] if on_gpu else FAST
    images = plan.train_images or _of(plan).speedruns[model]
    options: dict[str, Scalar] = {"target": TARGET_ACCURACY}
    return _training(plan, "speedrun", model, arithmetic, seed, images, options, recipe=f"speedrun_{model}")


def scaling_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """One process; then each larger number, which shares the recipe's batch (strong) or has one each (weak)."""
    for seed in _seeds(plan):
        for model in _named(plan, _of(plan).scaling):
            for processes in _processes(plan):
                for scaling in ("strong", "weak") if processes > 1 else ("strong",):
                    yield {"model": model, "processes": processes, "scaling": scaling, "seed": seed}


def scaling_case(plan: Plan, *, model: str, processes: int, scaling: str, seed: int) -> Case:
    """A training on ``processes`` processes. On a CPU each has an equal part of the threads, as many as one alone."""
    options: dict[str, Scalar] = {
        "processes": processes,
        "scaling": scaling,
        "threads_each": plan.threads // max(_processes(plan)) if plan.device == "cpu" else plan.threads,
        **dict(plan.sampling),
    }
    images = plan.train_images or _of(plan).scaling[model]
    return _training(plan, "scaling", model, usual_arithmetic(model), seed, images, options)


def _processes(plan: Plan) -> list[int]:
    """Numbers of processes that are tried: on a CPU each has a thread at least."""
    return [count for count in _of(plan).processes if plan.device != "cpu" or count <= plan.threads]


def _training(
    plan: Plan,
    experiment: str,
    model: str,
    arithmetic: Arithmetic,
    seed: int,
    images: int | None,
    options: Mapping[str, Scalar],
    **fields: Any,
) -> Case:
    judged = {"train_images": images, "test_images": plan.test_images or plan.budget.test_images}
    return _fed(plan, experiment, model, arithmetic, seed=seed, options={**judged, **options}, **fields)


def _fed(
    plan: Plan,
    experiment: str,
    model: str,
    arithmetic: Arithmetic,
    *,
    options: Mapping[str, Scalar],
    recipe: str | None = None,
    image_size: int | None = None,
    **fields: Any,
) -> Case:
    """A case whose batches are fed and computed by ``arithmetic``, of ``recipe`` or of the network's own."""
    chosen = recipe or recipes_of(plan, model)[0]
    return make_case(
        plan,
        experiment,
        model=model,
        image_size=image_size or models.classifier(model).image_size,
        recipe=chosen,
        pipeline=arithmetic.pipeline,
        precision=arithmetic.precision,
        mode=arithmetic.mode,
        batch_size=RECIPES[chosen].batch_size,
        options={**options, **arithmetic_options(arithmetic)},
        **fields,
    )


def _of(plan: Plan) -> Comparisons:
    return COMPARISONS[plan.budget.name]


def _seeds(plan: Plan) -> tuple[int, ...]:
    return _asked_seeds(plan, _of(plan).seeds)


def _asked_seeds(plan: Plan, usual: tuple[int, ...]) -> tuple[int, ...]:
    return plan.seeds if plan.seeds_asked else usual


def _named(plan: Plan, chosen: Iterable[str]) -> list[str]:
    return [model for model in chosen if _is_about(plan, model)]


def _is_about(plan: Plan, model: str) -> bool:
    """True if the run includes ``model``: every network, unless the command line names some."""
    return plan.layers is not None or model in plan.models


def _rungs_of_steps() -> tuple[int, ...]:
    """The notes' arithmetic without workers, and the fast one."""
    fast = next(place for place, (_, arithmetic) in enumerate(LADDER) if arithmetic == FAST)
    return (0, fast)
