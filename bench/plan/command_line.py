"""From the command line to a Plan: names looked up, numbers checked, gaps filled in from the budget. No torch."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import models
from bench.core import datasets
from bench.core.amounts import COMPARISONS, Budget, Language, Rows
from bench.core.budgets import BUDGETS
from bench.core.datasets import load_text
from bench.core.errors import InputError, unknown_name
from bench.core.other_work import usable_cores
from bench.core.precisions import MIXED
from bench.core.quality import Margins, margins_from
from bench.core.records import Scalar
from bench.core.runtimes import REFERENCE, RUNTIMES, Kind, precisions_of
from bench.core.workspace import TRACKERS
from bench.plan.options import read
from bench.plan.plan import ImageNetWeights, Plan, PromptText, UserNetwork, file_digest
from bench.plan.values import SWEEP, split

DEFAULT_BUDGET = {"cpu": "quick", "cuda": "gpu"}
DATA_DIR = Path(__file__).resolve().parents[2] / "data"
"""Folder of data sets where none is named: the checkout's, wherever pytest was started."""


def make_plan(value_of: Callable[[str], Any], *, offline: bool = False) -> Plan:
    """The plan that the command line asks for.

    Args:
        value_of: gives the value of an option by its key, None where it is missing.
        offline: do not look whether a data set could be downloaded (when only listing the cases).

    Raises:
        InputError: a name is unknown, a number is out of range, data are missing or the device is not there.
    """
    values = read(value_of)
    device = choose_device(values["device"], elsewhere=values["cluster"] is not None)
    budget = _budget(values["budget"], device)
    data_dir = values["data_dir"] or DATA_DIR
    weights = values["weights"]
    user = UserNetwork(
        weights=weights,
        weights_digest=_digest(weights),
        class_map=values["class_map"],
        classes=values["classes"],
        image_size=values["image_size"],
        normalize=values["normalize"],
    )
    named = values["models"]
    trained, untrained = _models(named, budget, user)
    if values["train_images"] == 0:
        trained, untrained = (), (*trained, *untrained)
    asked = {name: values[name] for name in ("precisions", "modes", "batch_sizes") if values[name]}
    sweeps = asked.get("batch_sizes") == SWEEP
    others = {name: value for name, value in asked.items() if not (sweeps and name == "batch_sizes")}
    margins = None if values["max_drop"] is None else margins_from("--max-drop", values["max_drop"])
    if named:
        asked["models"] = None  # what is named is measured in every row, whichever networks the budget chose for it
    runtimes = _runtimes(values)
    return Plan(
        device=device,
        dataset=_dataset(values["dataset"], data_dir, offline=offline),
        data_dir=data_dir,
        budget=budget,
        trained=trained,
        untrained=untrained,
        rows=chosen_rows(budget.rows, "classifiers", runtimes, asked, mixed=margins is not None),
        layers=None if named else dataclasses.replace(budget.layers, **others),
        language=_language(values, budget, {**others, **({"models": None} if named else {})}),
        text=_text(values["text"], data_dir),
        seeds=values["seeds"] or budget.seeds,
        seeds_asked=values["seeds"] is not None,
        imagenet=_imagenet(values["imagenet_weights"], COMPARISONS[budget.name].imagenet, budget),
        repeats=values["repeats"] or budget.repeats,
        sets=values["repeats"] or budget.sets,
        threads=values["threads"] or usable_cores(),
        user=user,
        train_images=values["train_images"],
        test_images=values["test_images"],
        sweeps=sweeps,
        max_drop=(margins or Margins()).accuracy,
        case_timeout=values["case_timeout"],
        minutes=values["minutes"],
        track=_track(values["track"]),
        sampling=_sampling(value_of),
    )


def _runtimes(values: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Runtimes that are asked for; None where the budget decides. Modes are torch's: where they alone are given, so is
    torch.

    Raises:
        InputError: a runtime has none of the precisions that are asked for.
    """
    named: tuple[str, ...] | None = values["runtimes"]
    if named is None:
        return (REFERENCE,) if values["modes"] else None
    for name in named:
        known = (*RUNTIMES[name].classifiers, *RUNTIMES[name].languages)
        if values["precisions"] and not set(known) & set(values["precisions"]):
            raise InputError(
                f"--runtimes {name} runs none of --precisions {','.join(values['precisions'])}; "
                f"it runs {', '.join(dict.fromkeys(known))}."
            )
    return named


def chosen_rows(
    rows: Sequence[Rows],
    kind: Kind,
    runtimes: Sequence[str] | None,
    asked: Mapping[str, Any],
    *,
    mixed: bool = False,
) -> tuple[Rows, ...]:
    """The ``rows`` of a budget with what the command line asks for in their place.

    Modes are torch's. Precisions go to the runtimes that have them. A runtime that is named and has no row in the
    budget is measured at all of its precisions.

    Args:
        runtimes: names; None: those of ``rows``.
        asked: fields of ``Rows`` to replace.
        mixed: add mixed precision to the rows that have static int8.
    """
    named = tuple(dict.fromkeys(each.runtime for each in rows)) if runtimes is None else tuple(runtimes)
    sizes = tuple(dict.fromkeys(size for each in rows for size in each.batch_sizes))
    kept = [each for each in rows if each.runtime in named]
    for name in named:
        if all(each.runtime != name for each in kept):
            modes = ("eager",) if name == REFERENCE else RUNTIMES[name].modes
            every = tuple(precision for precision in precisions_of(name, kind) if precision != MIXED)
            kept.append(Rows(runtime=name, precisions=every, modes=modes, batch_sizes=sizes))
    chosen = tuple(_asked(each, kind, asked) for each in kept)
    return tuple(_with_mixed(each) for each in chosen) if mixed else chosen


def _with_mixed(rows: Rows) -> Rows:
    """``rows`` with mixed precision after static int8. Networks that the budget takes pretrained have none: each of
    their many layers would be quantised alone, at 224 pixels."""
    pretrained = rows.models is not None and any(models.classifier(name).pretrained for name in rows.models)
    if "int8_static" not in rows.precisions or MIXED in rows.precisions or pretrained:
        return rows
    return dataclasses.replace(rows, precisions=(*rows.precisions, MIXED))


def _asked(rows: Rows, kind: Kind, asked: Mapping[str, Any]) -> Rows:
    fields = dict(asked)
    if rows.runtime != REFERENCE:
        fields.pop("modes", None)
    if "precisions" in fields:
        known = precisions_of(rows.runtime, kind)
        fields["precisions"] = tuple(name for name in fields["precisions"] if name in known)
    return dataclasses.replace(rows, **fields)


def _language(values: Mapping[str, Any], budget: Budget, asked: dict[str, Any]) -> Language | None:
    """Rows of language models; None where classifiers alone were named."""
    named = values["llm"]
    if named is None and values["models"]:
        return None
    references = split("--llm", named) if named else budget.language.models
    for reference in references:
        try:
            models.language_model(reference)
        except KeyError:
            raise InputError(
                f"{unknown_name('language model', reference, models.LANGUAGE_MODELS)} "
                "A folder, or a hub id like OWNER/NAME, will also do."
            ) from None
        except models.ModelError as error:
            raise InputError(str(error)) from error
    changed: dict[str, Any] = {
        "models": references,
        "rows": chosen_rows(budget.language.rows, "languages", _runtimes(values), asked),
        "prompt_tokens": values["prompt_tokens"],
        "prefill": bool(values["prompt_tokens"]),
        "new_tokens": values["new_tokens"],
        "chat_tokens": values["new_tokens"],
        "text_tokens": values["text_tokens"],
    }
    return dataclasses.replace(budget.language, **{name: value for name, value in changed.items() if value})


def _text(asked: str, data_dir: Path) -> PromptText:
    text = load_text(asked, data_dir)
    file = Path(asked).expanduser()
    return PromptText(
        name=text.name,
        digest=text.digest,
        characters=len(text.content),
        file=file.resolve() if file.is_file() else None,
    )


def choose_device(asked: str, *, elsewhere: bool = False) -> str:
    """``cpu``, ``cuda`` or ``cuda:N``. ``auto`` is CUDA where the driver finds a GPU.

    Args:
        elsewhere: cases run on other machines: whether there is such a GPU is seen there.

    Raises:
        InputError: another name, or a GPU that is not there.
    """
    kind, _, index = asked.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdigit())):
        raise InputError(f"unknown device '{asked}'. Known: auto, cpu, cuda, cuda:N.")
    count = gpu_count() if kind != "cpu" else 0
    if kind == "auto":
        return "cuda" if count else "cpu"
    if kind == "cuda" and int(index or 0) >= count and not elsewhere:
        raise InputError(f"--device {asked} was asked for, but the driver finds {count} CUDA GPUs; use --device cpu.")
    return asked


def gpu_count() -> int:
    """Number of CUDA GPUs that the driver finds and ``CUDA_VISIBLE_DEVICES`` leaves; asked without torch."""
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


def _budget(asked: str | None, device: str) -> Budget:
    name = asked or DEFAULT_BUDGET[device.partition(":")[0]]
    if name not in BUDGETS:
        raise unknown_name("budget", name, BUDGETS)
    return BUDGETS[name]


def _dataset(asked: str, data_dir: Path, *, offline: bool) -> str:
    spec = asked if offline else datasets.resolve(asked, data_dir)
    datasets.check(spec, data_dir)
    return spec


def _models(asked: str | None, budget: Budget, user: UserNetwork) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if asked is None:
        if user.options or user.image_size:
            raise InputError(
                "--weights, --class-map, --classes, --image-size and --normalize describe a network: "
                "name it with --models."
            )
        return budget.trained, budget.untrained
    names = split("--models", asked)
    for name in names:
        try:
            models.classifier(name, user.image_size, user.weights)
        except KeyError:
            raise unknown_name("model", name, [*models.CLASSIFIERS, "FILE.py:callable"]) from None
        except ValueError as error:
            raise InputError(str(error)) from error
    if user.weights and len(names) > 1:
        raise InputError(f"--weights {user.weights} fits one network; --models names {len(names)}: give one of them.")
    if user.weights:
        return (), names
    if budget.untrained or any(models.classifier(name).pretrained for name in names):
        kept = tuple(
            name for name in names if name not in budget.untrained and models.classifier(name).pretrained is None
        )
        return kept, tuple(name for name in names if name not in kept)
    return names, ()


def _digest(weights: str | None) -> str | None:
    """Digest of the file that ``--weights`` names; None for torchvision's own, whose files have it in their names."""
    named = models.split_key(weights)[0] if weights else None
    return file_digest(named) if named and named.is_file() else None


def _imagenet(asked: str | None, names: tuple[str, ...], budget: Budget) -> dict[str, ImageNetWeights]:
    """torchvision's file of each network that is there: ``NAME-*.pth`` in the folder ``asked``."""
    if asked is None:
        return {}
    if not names:
        raise InputError(f"--imagenet-weights: budget {budget.name} has no transfer from ImageNet; give --budget full.")
    folder = Path(asked).expanduser()
    if not folder.is_dir():
        raise InputError(f"--imagenet-weights {asked} is no folder; give one with {_imagenet_files(names)}.")
    files_of = {name: sorted(folder.glob(f"{name}-*.pth")) for name in names}
    for name, files in files_of.items():
        if len(files) > 1:
            raise InputError(f"--imagenet-weights {asked} holds {len(files)} files {name}-*.pth; leave one of them.")
    if not any(files_of.values()):
        raise InputError(f"--imagenet-weights {asked} holds no {_imagenet_files(names)}, as torchvision names them.")
    return {
        name: ImageNetWeights(file=files[0].resolve(), digest=file_digest(files[0]))
        for name, files in files_of.items()
        if files
    }


def _imagenet_files(names: Iterable[str]) -> str:
    return " or ".join(f"{name}-*.pth" for name in names)


def _track(names: tuple[str, ...]) -> tuple[str, ...]:
    if "none" in names:
        if len(names) > 1:
            raise InputError(
                f"--track {','.join(names)} names a tracker beside none; give none alone, or leave it out."
            )
        return ()
    for name in names:
        if importlib.util.find_spec(TRACKERS[name]) is None:
            raise InputError(
                f"--track {name} needs the package {TRACKERS[name]}, which is not installed: "
                "install it, or give --track none."
            )
    return names


def _sampling(value_of: Callable[[str], Any]) -> tuple[tuple[str, Scalar], ...]:
    """pytest-benchmark's own limits, where asked, go to the worker's stopping rule, under its names."""
    asked = {"max_seconds": value_of("benchmark_max_time"), "min_samples": value_of("benchmark_min_rounds")}
    return tuple((name, value) for name, value in sorted(asked.items()) if value is not None)
