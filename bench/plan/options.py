"""From the command line to a Plan: names looked up, numbers checked, gaps filled in from the budget. No torch."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import models
from bench.core import datasets
from bench.core.budgets import BUDGETS, Budget, Language
from bench.core.comparisons import COMPARISONS
from bench.core.errors import InputError, unknown_name
from bench.core.precisions import PRECISIONS
from bench.core.records import Scalar
from bench.core.text import load_text
from bench.plan.plan import ImageNetWeights, Plan, PromptText, UserNetwork, file_digest
from bench.train.tracking import TRACKERS

MODES = ("eager", "compiled")
FEWEST_NEW_TOKENS = 2
"""The first new token is prefill's: decode is timed from there on."""
DEFAULT_BUDGET = {"cpu": "quick", "cuda": "full"}


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
        weights_digest=file_digest(weights) if weights else None,
        classes=_at_least(1, "--classes", option("classes")),
        image_size=_at_least(1, "--image-size", option("image_size")),
        normalize=_normalize(option("normalize")),
    )
    given = option("models")
    trained, untrained = _models(given, budget, user)
    asked = _asked(option)
    if given:
        asked["models"] = None  # what is named is measured in every row, whichever networks the budget chose for it
    return Plan(
        device=device,
        dataset=_dataset(option("dataset"), data_dir, offline=offline),
        data_dir=data_dir,
        budget=budget,
        trained=trained,
        untrained=untrained,
        rows=tuple(dataclasses.replace(rows, **asked) for rows in budget.rows),
        layers=None if given else dataclasses.replace(budget.layers, **asked),
        language=_language(option, budget, asked),
        text=_text(option("text") or "auto", data_dir),
        seeds=_numbers("--seeds", option("seeds"), 0, budget.seeds),
        seeds_asked=option("seeds") is not None,
        imagenet=_imagenet(option("imagenet_weights"), COMPARISONS[budget.name].imagenet, budget),
        repeats=_at_least(1, "--repeats", option("repeats")) or budget.repeats,
        sets=option("repeats") or budget.sets,
        threads=_at_least(1, "--threads", option("threads")) or available_cores(),
        user=user,
        train_images=_at_least(1, "--train-images", option("train_images")),
        test_images=_at_least(1, "--test-images", option("test_images")),
        case_timeout=_seconds("--case-timeout", option("case_timeout")),
        track=_track(option("track") or "tensorboard"),
        sampling=_sampling(option),
    )


def _asked(option: Callable[[str], Any]) -> dict[str, Any]:
    """What the command line puts in the place of the budget's precisions, modes and batch sizes, in all its rows."""
    asked = {
        "precisions": _names("precision", option("precisions"), PRECISIONS),
        "modes": _names("mode", option("modes"), MODES),
        "batch_sizes": _numbers("--batch-sizes", option("batch_sizes"), 1, ()),
    }
    return {name: values for name, values in asked.items() if values}


def _language(option: Callable[[str], Any], budget: Budget, asked: dict[str, Any]) -> Language | None:
    """What is measured of language models; None where classifiers alone were named."""
    given = option("llm")
    if given is None and option("models"):
        return None
    names = _split(given) if given else budget.language.models
    for name in names:
        try:
            models.language_model(name)
        except KeyError:
            raise InputError(
                f"{unknown_name('language model', name, models.LANGUAGE_MODELS)} "
                "A folder, or a hub id like OWNER/NAME, will also do."
            ) from None
        except models.ModelError as error:
            raise InputError(str(error)) from error
    new_tokens = _at_least(FEWEST_NEW_TOKENS, "--new-tokens", option("new_tokens"))
    changed: dict[str, Any] = {
        "models": names,
        "rows": tuple(dataclasses.replace(rows, **asked) for rows in budget.language.rows),
        "prompt_tokens": _numbers("--prompt-tokens", option("prompt_tokens"), 1, ()),
        "new_tokens": new_tokens,
        "chat_tokens": new_tokens,
        "text_tokens": _at_least(2, "--text-tokens", option("text_tokens")),
    }
    return dataclasses.replace(budget.language, **{name: value for name, value in changed.items() if value})


def _text(given: str, data_dir: Path) -> PromptText:
    text = load_text(given, data_dir)
    file = Path(given).expanduser()
    return PromptText(
        name=text.name,
        digest=text.digest,
        characters=len(text.content),
        file=file.resolve() if file.is_file() else None,
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
        return count if visible is None else min(count, _visible(visible))
    return 0


def _visible(listed: str) -> int:
    """Devices that ``CUDA_VISIBLE_DEVICES`` leaves: CUDA reads it up to the first name that is none, like ``-1``."""
    names = [name.strip() for name in listed.split(",")]
    return len(list(itertools.takewhile(lambda name: name and not name.startswith("-"), names)))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _budget(given: str | None, device: str) -> Budget:
    name = given or DEFAULT_BUDGET[device.partition(":")[0]]
    if name not in BUDGETS:
        raise unknown_name("budget", name, BUDGETS)
    return BUDGETS[name]


def _dataset(given: str, data_dir: Path, *, offline: bool) -> str:
    spec = given if offline else datasets.resolve(given, data_dir)
    datasets.check(spec, data_dir)
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
    if budget.untrained:
        kept = tuple(name for name in names if name not in budget.untrained)
        return kept, tuple(name for name in names if name not in kept)
    return names, ()


def _weights(given: str | None) -> Path | None:
    if given is None:
        return None
    if not Path(given).is_file():
        raise InputError(f"--weights {given} is no file; give a file that torch.save wrote from a state dict.")
    return Path(given).resolve()


def _imagenet(given: str | None, names: tuple[str, ...], budget: Budget) -> dict[str, ImageNetWeights]:
    """torchvision's file of each network that is there: ``NAME-*.pth`` in the folder ``given``."""
    if given is None:
        return {}
    if not names:
        raise InputError(f"--imagenet-weights: budget {budget.name} has no transfer from ImageNet; give --budget full.")
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise InputError(f"--imagenet-weights {given} is no folder; give one with {_imagenet_files(names)}.")
    found = {name: sorted(folder.glob(f"{name}-*.pth")) for name in names}
    for name, files in found.items():
        if len(files) > 1:
            raise InputError(f"--imagenet-weights {given} holds {len(files)} files {name}-*.pth; leave one of them.")
    if not any(found.values()):
        raise InputError(f"--imagenet-weights {given} holds no {_imagenet_files(names)}, as torchvision names them.")
    return {
        name: ImageNetWeights(file=files[0].resolve(), digest=file_digest(files[0]))
        for name, files in found.items()
        if files
    }


def _imagenet_files(names: Iterable[str]) -> str:
    return " or ".join(f"{name}-*.pth" for name in names)


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


def _names(what: str, given: str | None, known: Iterable[str]) -> tuple[str, ...]:
    if given is None:
        return ()
    for name in _split(given):
        if name not in known:
            raise unknown_name(what, name, known)
    return _split(given)


def _track(given: str) -> tuple[str, ...]:
    names = _names("tracker", given, (*TRACKERS, "none"))
    if "none" in names:
        if len(names) > 1:
            raise InputError(f"--track {given} names a tracker beside none; give none alone, or leave it out.")
        return ()
    for name in names:
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            raise InputError(
                f"--track {name} needs the package {TRACKERS[name].package}, which is not installed: "
                "install it, or give --track none."
            )
    return names


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


def _seconds(what: str, given: float | None) -> float | None:
    if given is not None and not (given > 0 and math.isfinite(given)):
        raise InputError(f"{what} {given} is no time limit; give seconds above 0.")
    return given


def _sampling(option: Callable[[str], Any]) -> tuple[tuple[str, Scalar], ...]:
    """pytest-benchmark's own limits, where given, go to the worker's stopping rule, under its names."""
    given = {"max_seconds": option("benchmark_max_time"), "min_samples": option("benchmark_min_rounds")}
    return tuple((name, value) for name, value in sorted(given.items()) if value is not None)
