"""The options of one run, checked and filled in from the budget, and the cases that follow from them. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from bench.budgets import BUDGETS, Budget
from bench.data import sources
from bench.errors import InputError, unknown_name
from bench.records import Case, Scalar
from bench.train.recipes import HELD_OUT, RECIPES, recipe_for

MODES = ("eager", "compiled")
PRECISIONS = ("fp32",)
DEFAULT_BUDGET = {"cpu": "quick", "cuda": "full"}


@dataclass(frozen=True, kw_only=True)
class UserNetwork:
    """What the user says of networks of their own: empty for ours."""

    weights: Path | None = None
    weights_digest: str | None = None
    """First 16 hexadecimal digits of the SHA-256 of the file: other contents are another case."""
    classes: int | None = None
    image_size: int | None = None
    normalize: str | None = None
    """Three means, a slash, three standard deviations, as given: ``0.5,0.5,0.5/0.5,0.5,0.5``."""

    @property
    def options(self) -> dict[str, Scalar]:
        """As options of a case."""
        weights = str(self.weights) if self.weights else None
        given = {
            "classes": self.classes,
            "normalize": self.normalize,
            "weights": weights,
            "weights_digest": self.weights_digest,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run, decided."""

    device: str
    dataset: str
    data_dir: Path
    budget: Budget
    trained: tuple[str, ...]
    untrained: tuple[str, ...]
    precisions: tuple[str, ...]
    modes: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    repeats: int
    threads: int
    user: UserNetwork
    compiled: tuple[str, ...] | None
    compiled_batch_sizes: tuple[int, ...] | None
    sampling: tuple[tuple[str, Scalar], ...] = ()
    """Changes to the budget's stopping rule that were asked for on the command line."""
    case_timeout: float | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Every classifier of the run, trained ones first."""
        return self.trained + self.untrained

    def image_size(self, model: str) -> int:
        """Side of the images that ``model`` is given, in pixels."""
        return self.user.image_size or models.classifier(model).image_size

    def image_sizes(self, model: str) -> tuple[int, ...]:
        """Image sides at which ``model`` is timed: its own, and the large ones of the budget for torchvision's."""
        own = self.image_size(model)
        if self.user.image_size or models.classifier(model).group != "torchvision":
            return (own,)
        return (own, *(size for size in self.budget.large_image_sizes if size != own))

    def modes_of(self, model: str) -> tuple[str, ...]:
        """Modes in which ``model`` is timed."""
        compiled = self.compiled is None or model in self.compiled
        return tuple(mode for mode in self.modes if mode != "compiled" or compiled)

    def batch_sizes_in(self, mode: str) -> tuple[int, ...]:
        """Batch sizes timed in ``mode``, the largest first: its predictions serve the others."""
        only = self.compiled_batch_sizes if mode == "compiled" else None
        return tuple(size for size in self.batch_sizes if only is None or size in only)

    def recipes(self, model: str) -> tuple[str, ...]:
        """The recipes that train ``model``: the one that reproduces, and its held-out twin where the budget has it."""
        name = self.budget.recipes.get(model, recipe_for(model).name)
        return (name, name + HELD_OUT) if model in self.budget.held_out else (name,)

    def training(self, model: str, *, recipe: str, seed: int) -> Case:
        """The case that trains ``model``; its artefact is what inference reads. Its repeats are its seeds."""
        images = self.budget.train_images_by_model.get(model, self.budget.train_images)
        epochs = self.budget.epochs
        given = {
            "train_images": images,
            "epoch_images": -(-images // epochs) if images and epochs else None,
            "test_images": self.budget.test_images,
            "classes": self.user.classes,
            "normalize": self.user.normalize,
        }
        return self._case(
            experiment="training",
            model=model,
            recipe=recipe,
            pipeline="dataloader",
            batch_size=RECIPES[recipe].batch_size,
            seed=seed,
            options={name: value for name, value in given.items() if value is not None},
        )

    def inference(
        self, model: str, *, image_size: int, mode: str, batch_size: int, precision: str, repeat: int
    ) -> Case:
        """The case that times ``model`` and, where its weights were trained, judges it."""
        test_images = self.budget.test_images
        options = {**dict(self.sampling), **self.user.options}
        if test_images is not None:
            options["test_images"] = test_images
        return self._case(
            experiment="inference",
            model=model,
            image_size=image_size,
            recipe=None if self.user.weights else self.recipes(model)[0],
            precision=precision,
            mode=mode,
            batch_size=batch_size,
            repeat=repeat,
            options=options,
        )

    def needed_training(self, model: str) -> Case | None:
        """The training whose weights ``model`` is judged with; None where the weights are given or there are none."""
        if self.user.weights or model not in self.trained:
            return None
        return self.training(model, recipe=self.recipes(model)[0], seed=self.seeds[0])

    def time_limit(self, case: Case) -> float:
        """Seconds after which ``case`` is ended."""
        if self.case_timeout is not None:
            return self.case_timeout
        return self.budget.training_timeout if case.experiment == "training" else self.budget.case_timeout

    def _case(self, *, model: str, options: dict[str, Scalar], image_size: int | None = None, **fields: Any) -> Case:
        source = models.classifier(model).source
        if source:
            options["source"] = _digest(source)
        return Case(
            model=model,
            dataset=self.dataset,
            image_size=image_size or self.image_size(model),
            device=self.device,
            threads=self.threads,
            budget=self.budget.name,
            options=tuple(sorted(options.items())),
            **fields,
        )


def make_plan(option: Callable[[str], Any], *, offline: bool = False) -> Plan:
    """The plan that the command line asks for.

    Args:
        option: gives the value of an option, None where it was not given.
        offline: do not look whether a data set could be downloaded (when only listing the cases).

    Raises:
        InputError: a name is unknown, a number is out of range, data are missing or the device is not there.
    """
    device = choose_device(option("device"))
    budget = _budget(option("budget"), device)
    data_dir = Path(option("data_dir"))
    weights = _weights(option("weights"))
    user = UserNetwork(
        weights=weights,
        weights_digest=_digest(weights) if weights else None,
        classes=_at_least(1, "--classes", option("classes")),
        image_size=_at_least(1, "--image-size", option("image_size")),
        normalize=_normalize(option("normalize")),
    )
    given = option("models")
    trained, untrained = _models(given, budget, user)
    return Plan(
        device=device,
        dataset=_dataset(option("dataset"), data_dir, offline=offline),
        data_dir=data_dir,
        budget=budget,
        trained=trained,
        untrained=untrained,
        precisions=_names("precision", option("precisions"), PRECISIONS, PRECISIONS),
        modes=_names("mode", option("modes"), MODES, budget.modes),
        batch_sizes=_numbers("--batch-sizes", option("batch_sizes"), 1, budget.batch_sizes),
        seeds=_numbers("--seeds", option("seeds"), 0, budget.seeds),
        repeats=_at_least(1, "--repeats", option("repeats")) or budget.repeats,
        threads=_at_least(1, "--threads", option("threads")) or available_cores(),
        user=user,
        compiled=None if given or option("modes") else budget.compiled,
        compiled_batch_sizes=None if option("modes") or option("batch_sizes") else budget.compiled_batch_sizes,
        case_timeout=option("case_timeout"),
        sampling=_sampling(option),
    )


def choose_device(given: str) -> str:
    """``cpu``, ``cuda`` or ``cuda:N``. ``auto`` is CUDA where the driver tells of a GPU.

    Raises:
        InputError: another name, or a GPU that is not there.
    """
    kind, _, index = given.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdigit())):
        raise InputError(f"unknown device '{given}'. Known: auto, cpu, cuda, cuda:N.")
    count = gpu_count() if kind != "cpu" else 0
    if kind == "auto":
        return "cuda" if count else "cpu"
    if kind == "cuda" and int(index or 0) >= count:
        raise InputError(
            f"--device {given} was asked for, but the driver tells of {count} CUDA GPUs; use --device cpu."
        )
    return given


def gpu_count() -> int:
    """CUDA GPUs that the driver tells of and ``CUDA_VISIBLE_DEVICES`` leaves; asked without torch."""
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
        return count if visible is None else min(count, len([name for name in visible.split(",") if name.strip()]))
    return 0


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _budget(given: str | None, device: str) -> Budget:
    name = given or DEFAULT_BUDGET[device.partition(":")[0]]
    if name not in BUDGETS:
        raise unknown_name("budget", name, BUDGETS)
    return BUDGETS[name]


def _dataset(given: str, data_dir: Path, *, offline: bool) -> str:
    spec = given if offline else sources.resolve(given, data_dir)
    sources.check(spec, data_dir)
    return spec


def _models(given: str | None, budget: Budget, user: UserNetwork) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if given is None:
        if user.options or user.image_size:
            raise InputError(
                "--weights, --classes, --image-size and --normalize describe a network: name it with --models."
            )
        return budget.trained, budget.untrained
    names = _split(given)
    for name in names:
        try:
            models.classifier(name, user.image_size)
        except KeyError:
            raise unknown_name("model", name, [*models.CLASSIFIERS, "FILE.py:callable"]) from None
        except ValueError as error:
            raise InputError(str(error)) from error
    if user.weights and len(names) > 1:
        raise InputError(f"--weights {user.weights} fits one network; --models names {len(names)}: give one of them.")
    if user.weights:
        return (), names
    if budget.train_images is not None and budget.test_images is not None:
        kept = tuple(name for name in names if name in budget.trained or ":" in name)
        return kept, tuple(name for name in names if name not in kept)
    return names, ()


def _weights(given: str | None) -> Path | None:
    if given is None:
        return None
    if not Path(given).is_file():
        raise InputError(f"--weights {given} is no file; give a file that torch.save wrote from a state dict.")
    return Path(given).resolve()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _normalize(given: str | None) -> str | None:
    if given is None:
        return None
    with suppress(ValueError):
        halves = [[float(number) for number in half.split(",")] for half in given.split("/")]
        if [len(half) for half in halves] == [3, 3] and all(number > 0 for number in halves[1]):
            return given
    raise InputError(
        f"--normalize {given} is not three means, a slash and three standard deviations above 0, "
        "like 0.485,0.456,0.406/0.229,0.224,0.225."
    )


def _names(what: str, given: str | None, known: Sequence[str], default: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return default
    for name in _split(given):
        if name not in known:
            raise unknown_name(what, name, known)
    return _split(given)


def _split(given: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise InputError(f"'{given}' names nothing; give one name, or several with commas between them.")
    return names


def _numbers(what: str, given: str | None, least: int, default: Iterable[int]) -> tuple[int, ...]:
    if given is None:
        return tuple(default)
    try:
        numbers = tuple(dict.fromkeys(int(text) for text in _split(given)))
    except ValueError:
        raise InputError(f"{what} {given} is not a list of whole numbers, like 1,32.") from None
    for number in numbers:
        _at_least(least, what, number)
    return tuple(sorted(numbers, reverse=what == "--batch-sizes"))


def _at_least(least: int, what: str, number: int | None) -> int | None:
    if number is not None and number < least:
        raise InputError(f"{what} {number} is below {least}; give {least} or more.")
    return number


def _sampling(option: Callable[[str], Any]) -> tuple[tuple[str, Scalar], ...]:
    """pytest-benchmark's own limits, where given, go to the worker's stopping rule, under its names."""
    given = {"max_seconds": option("benchmark_max_time"), "min_samples": option("benchmark_min_rounds")}
    return tuple((name, value) for name, value in sorted(given.items()) if value is not None)
