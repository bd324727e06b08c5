"""Kinds of amounts that a budget consists of: rows, layers, language models, stopping rules. No logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Stopping rule of a timed case: enough samples, enough seconds and a small enough error, or out of time."""

    min_samples: int
    min_seconds: float
    relative_error: float
    """Standard error of the mean over the mean that is small enough."""
    max_seconds: float
    """Give up on the error after this long; the row then says that the criterion was not met."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of inference: each of the networks at each precision, in each mode, at each batch size."""

    precisions: tuple[str, ...]
    modes: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    models: tuple[str, ...] | None = None
    """None is every network of the run."""
    runtime: str = "torch"
    """A name in ``bench.core.runtimes.RUNTIMES``."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The single layers that are timed: each kind at its widths, each precision, in each mode, at each batch size."""

    widths: Mapping[str, tuple[int, ...]]
    """Kind of layer -> inputs, and as many outputs."""
    precisions: tuple[str, ...]
    modes: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class Language:
    """Rows of language models. Loading, perplexity and chat: each precision of ``rows`` once, eager."""

    models: tuple[str, ...]
    rows: tuple[Rows, ...]
    """Prefill and decode. Loading and perplexity: each precision of a model's rows."""
    prompt_tokens: tuple[int, ...]
    """Lengths of the prompts; decode goes on from the first of them."""
    new_tokens: int
    """Tokens that each timed generation is made to give."""
    context: int
    """Tokens in a window of the text."""
    stride: int
    """Tokens from one window to the next: so many of each are scored, with the others as their context."""
    text_tokens: int | None
    """Tokens of the text that are read; None is all of them."""
    chat_tokens: int
    """New tokens that each answer of the conversation may have."""
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Work by which the hardware's limits are measured, once a run."""

    cpu_bytes: int
    """Bytes that are copied and summed on a CPU: more than its caches hold."""
    cuda_bytes: int
    sides: tuple[int, ...]
    """Sides of the square matrices, in rising order: none after one that takes long or lacks memory."""
    rounds: int
    """Samples of each, fewer of what takes long."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One answer to "how long may this take?"."""

    name: str
    summary: str
    trained: tuple[str, ...]
    """Classifiers that are trained, then timed with their weights."""
    held_out: tuple[str, ...]
    """Those of them that are also trained with a held-out split which chooses the epoch."""
    untrained: tuple[str, ...]
    """Classifiers that are timed as they are built: latency and memory, no accuracy."""
    rows: tuple[Rows, ...]
    """Timed rows of the classifiers. The largest batch size comes first: its predictions serve the others."""
    layers: Layers
    language: Language
    ceilings: Ceilings
    twins: tuple[str, ...]
    """Classifiers whose reference takes part in its sets twice: what sets the two apart is noise."""
    sets: int
    """Sets of fresh processes that take turns; see ``bench.run.turns``."""
    close_routes: float | None
    """After the first set, routes that take longer than so many times the fastest are left out; None keeps them."""
    large_image_sizes: tuple[int, ...]
    """Further image sides at which torchvision's networks are timed."""
    large_images_alone: bool = False
    """True if torchvision's networks are timed at those sides and not at that of small images."""
    seeds: tuple[int, ...]
    repeats: int
    sampling: Sampling
    loading: Sampling
    """Stopping rule of passes over a data set, each of which is one sample."""
    train_images: int | None
    """Images seen by a training; None is the recipe's epochs over all images."""
    train_images_by_model: Mapping[str, int] = field(default_factory=dict)
    epochs: int | None = None
    """``train_images`` are cut into so many epochs, more where the training set is small; None is as few as can be."""
    recipes: Mapping[str, str] = field(default_factory=dict)
    """Recipes in place of the notes' where those cannot be shortened."""
    test_images: int | None = None
    """Images that judge accuracy; None is the whole test set."""
    judging_seconds: float | None = None
    """No further batch is judged after so long: accuracy then comes from the images before it. None is no limit."""
    training_timeout: float = 0.0
    case_timeout: float = 0.0
