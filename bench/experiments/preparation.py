"""Preparation, once before any case runs: decode the data and try the user's own networks."""

from __future__ import annotations

import base64
import sys
import sysconfig
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import torch

import models
from bench.core.quality import pack
from bench.core.recipes import recipe
from bench.core.records import Case
from bench.core.workspace import ROOT, Workspace
from bench.data.augmentation import CIFAR10_MEAN, CIFAR10_STD, training_augmentation
from bench.data.images import ImageDataset, dataset_folder, load_dataset
from bench.data.pipelines import augmented_grid_png
from bench.experiments.reference import check_columns, columns_of
from bench.experiments.subject import build, spec_of, weights_of
from bench.train.checkpoint import load_weights
from bench.train.evaluate import check_network

PICTURED_RECIPE = "note2_cnn_vgg"
"""Recipe of the report's picture: crops by 4 pixels and flips, as in notes 0, 1 and 2."""

NOT_OWN = (ROOT / "bench", ROOT / "models", *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")))
PACKAGE_FOLDERS = {"site-packages", "dist-packages"}


def prepare(case: Case, workspace: Workspace, *, users: Sequence[Case]) -> dict[str, Any]:
    """Decode the data set of ``case`` at its image size, and try the network of each of ``users`` on two images.

    Returns:
        ``decoded``: the folder of the decoded data set; ``dataset``: facts about it for the report; ``networks``: the
        files of each network of the user's own.

    Raises:
        InputError: data, a network or its weights cannot be used.
    """
    size, before = case.image_size, set(sys.modules)
    dataset = load_dataset(case.dataset, data_dir=workspace.data_dir, image_size=size, progress=workspace.progress)
    _files_imported_since(before)  # modules of the user's own data set belong to no network
    networks = {}
    for user in users:
        _try(user, dataset, workspace)
        networks[user.model] = _files_of(user.model, _files_imported_since(before))
    folder = dataset_folder(case.dataset, data_dir=workspace.data_dir, image_size=size)
    own = {model: [str(file) for file in files] for model, files in networks.items() if files}
    return {"decoded": str(folder), "dataset": _facts(dataset), "networks": own}


def _try(case: Case, dataset: ImageDataset, workspace: Workspace) -> None:
    spec, weights = spec_of(case), weights_of(case, workspace)
    network = build(case, dataset, pretrained=weights is None)
    if weights:
        load_weights(weights, network)
    outputs = check_network(
        network,
        case.model,
        classes=columns_of(case, spec, dataset).fewest(len(dataset.classes)),
        image_size=case.image_size,
        device=torch.device("cpu"),
        training=weights is None and spec.pretrained is None,
    )
    check_columns(case, spec, dataset, outputs)


def _files_of(model: str, imported: set[Path]) -> list[Path]:
    source = models.classifier(model).source
    return sorted({*imported, source.resolve()}) if source else []


def _files_imported_since(before: Set[str]) -> set[Path]:
    """Files of the user's own modules. They are unloaded, so that the next network imports shared ones again."""
    files = {}
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__dict__", {}).get("__file__")
        if file and _is_own(Path(file).resolve()):
            files[name] = Path(file).resolve()
    for name in files:
        del sys.modules[name]
    return set(files.values())


def _is_own(file: Path) -> bool:
    """True if a module's file belongs neither to Python nor to an installed package nor to this suite."""
    if PACKAGE_FOLDERS & set(file.parts) or any(file.is_relative_to(folder) for folder in NOT_OWN):
        return False
    return file.is_file()


def _facts(dataset: ImageDataset) -> dict[str, Any]:
    augmentation = training_augmentation(recipe(PICTURED_RECIPE), dataset)
    picture = augmented_grid_png(dataset, augmentation, image_size=len(dataset.train.images[0]), seed=0)
    return {
        "name": dataset.name,
        "spec": dataset.spec,
        "classes": list(dataset.classes),
        "train_images": len(dataset.train.labels),
        "test_images": len(dataset.test.labels),
        "test_labels": pack(dataset.test.labels.tolist()),
        "held_out": dataset.held_out,
        "flip": dataset.flip,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "usual_mean": list(CIFAR10_MEAN),
        "usual_std": list(CIFAR10_STD),
        "digest": dataset.digest,
        "augmented_by": PICTURED_RECIPE,
        "augmented_png": base64.b64encode(picture).decode(),
    }
