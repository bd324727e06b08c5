"""Amounts of a budget: rows, layers, language models, stopping rules, comparisons of trainings. No logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


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
    prefill: bool
    """True: the time to the first token is measured alone, for each length. False: it is that of decode's generations.
    Where lengths are asked for it is True."""
    new_tokens: int
    """Tokens that each timed generation is made to give."""
    context: int
    """Tokens in a window of the text."""
    stride: int
    """Tokens from one window to the next: so many of each are scored, with the others as their context."""
    text_tokens: int | None
    """Tokens of the text that are read; None is all of them."""
    chat_tokens: int
    """New tokens that each answer of the conversation may have; 0: there is none."""
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


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """Feeding and arithmetic of a training. The defaults are those of the notes' loops."""

    pipeline: str = "dataloader"
    workers: int | None = None
    """Workers of the loader; None is the recipe's number."""
    channels_last: bool = False
    products: bool = False
    fused: bool = False
    mode: str = "eager"
    precision: str = "fp32"


ARITHMETIC_OPTIONS = ("workers", "channels_last", "products", "fused")
"""Fields that are options of a case; pipeline, mode and precision are fields of it too."""

FAST = Arithmetic(pipeline="tensor", channels_last=True, products=True, fused=True)
"""Arithmetic of the suite's own trainings: float32, and nothing to compile."""
CAUTIOUS = Arithmetic(pipeline="tensor", fused=True)
"""Arithmetic of a network of the user's own: it may depend on how its maps lie in memory."""

LADDER: tuple[tuple[int, Arithmetic], ...] = (
    (0, Arithmetic(workers=0)),
    (0, Arithmetic(workers=2)),
    (1, Arithmetic(pipeline="tensor")),
    (2, Arithmetic(pipeline="tensor", channels_last=True)),
    (3, Arithmetic(pipeline="tensor", channels_last=True, products=True)),
    (4, FAST),
    (5, replace(FAST, precision="bf16_autocast")),
    (6, replace(FAST, mode="compiled")),
    (7, replace(FAST, mode="compiled", precision="bf16_autocast")),
)
"""Rungs from the notes' loop up, one thing at a time. What counts of the lowest is the faster of its two.

bfloat16 and compiling each go on from the rung under both, since either may slow a network: the last rung has both, and
goes on from the faster of the two."""


CUDA_LADDER = 10
"""Times the images of a ladder on CUDA: the table counts what a CPU does in some minutes, on a GPU a blink."""


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Amounts of each comparison in one budget."""

    seeds: tuple[int, ...]
    ladder: Mapping[str, int]
    """Network -> images that each training of its ladder sees."""
    steps: tuple[str, ...]
    """Networks whose training step is timed by phases, with the notes' arithmetic and with the fast one."""
    workers: tuple[int, ...]
    """Numbers of workers of the notes' loader; the tensor pipeline is always measured too."""
    items: tuple[int, ...]
    """Sizes of note 3's random data sets."""
    loading_images: int
    """Images of a pass over the data set; 0 times no loading."""
    loading_steps: tuple[str, ...]
    """Networks of which a training step follows each batch, in addition to loading alone."""
    pretraining: Mapping[str, int]
    """Network -> images that its training on the first half of the classes sees."""
    transfer: int
    """Images that each training on the other half sees."""
    imagenet: tuple[str, ...]
    """torchvision's networks that start from ImageNet's weights."""
    ablations: Mapping[str, int]
    """Question -> images that the training of each variant sees."""
    speedruns: Mapping[str, int | None]
    """Network -> images that a training on time sees; None is the recipe's."""
    scaling: Mapping[str, int]
    """Network -> images that its training on several processes sees."""
    processes: tuple[int, ...]
    """Numbers of processes of such a training. On a CPU there are no more than threads."""
    speedrun_seeds: tuple[int, ...]
    """A time is worth little without its spread: more than of other comparisons."""


SCOPES = ("scratch", "head", "all")
"""Parts that learn in a transfer: all of a network that was never trained, the new head alone, all of a trained one."""
TARGET_ACCURACY = 0.94
"""Test accuracy at which a speedrun ends, from 0 to 1."""

COMPARISONS: dict[str, Comparisons] = {
    "smoke": Comparisons(
        seeds=(0,),
        ladder={"cnn_small": 128},
        steps=("cnn_small",),
        workers=(0, 1),
        items=(200,),
        loading_images=128,
        loading_steps=("cnn_small",),
        pretraining={"resnet14_cifar": 64},
        transfer=64,
        imagenet=(),
        ablations={
            "dropout": 64,
            "initialisation": 64,
            "batch norm": 64,
            "skip connections": 64,
            "overfitting": 64,
        },
        speedruns={"resnet18_cifar": 64},
        scaling={"cnn_small": 256},
        processes=(1, 2),
        speedrun_seeds=(0,),
    ),
    "quick": Comparisons(
        seeds=(0,),
        ladder={},
        steps=(),
        workers=(),
        items=(),
        loading_images=0,
        loading_steps=(),
        pretraining={},
        transfer=0,
        imagenet=(),
        ablations={},
        speedruns={},
        scaling={},
        processes=(),
        speedrun_seeds=(),
    ),
    "gpu": Comparisons(
        seeds=(0,),
        ladder={},
        steps=("resnet18_cifar",),
        workers=(),
        items=(),
        loading_images=0,
        loading_steps=(),
        pretraining={},
        transfer=0,
        imagenet=(),
        ablations={},
        speedruns={},
        speedrun_seeds=(),
        scaling={},
        processes=(),
    ),
    "full": Comparisons(
        seeds=(0, 1, 2),
        ladder={"cnn_small": 60_000, "resnet14_cifar": 24_000, "resnet18": 12_000},
        steps=("cnn_small", "cnn_vgg", "resnet_custom", "resnet14_cifar", "resnet18_cifar", "resnet18"),
        workers=(0, 1, 2, 4, 8),
        items=(5_000, 10_000),
        loading_images=10_000,
        loading_steps=("cnn_small", "resnet14_cifar"),
        pretraining={"resnet18_cifar": 500_000},
        transfer=50_000,
        imagenet=("vgg16", "resnet18"),
        ablations={
            "dropout": 500_000,
            "initialisation": 500_000,
            "batch norm": 500_000,
            "skip connections": 500_000,
            "overfitting": 1_500_000,
        },
        speedruns={"resnet18_cifar": None},
        scaling={"cnn_small": 60_000, "resnet14_cifar": 24_000},
        processes=(1, 2, 4, 8),
        speedrun_seeds=(0, 1, 2, 3, 4),
    ),
}
