"""Subject of an inference case: a network with its weights on its device, and real images as its input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import models
from bench.core.errors import InputError
from bench.core.recipes import recipe
from bench.core.records import Case, Peak
from bench.core.workspace import Workspace, sha256_of
from bench.data.augmentation import Normalization, normalization
from bench.data.images import ImageDataset, open_dataset
from bench.data.pipelines import evaluation_batches
from bench.measure.memory import memory_limit, peak_of
from bench.runtimes.route import Order, Route, preparer_of
from bench.train.artefacts import load_weights

CALIBRATION_IMAGES = 256
CALIBRATION_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network in evaluation mode on the route of its case, and where its weights came from."""

    route: Route
    device: torch.device
    dataset: ImageDataset
    normalize: Normalization | None
    weights: str | None
    """SHA-256 of the file of trained weights; None if the network is as it was built."""
    untrained: str | None
    """Reason why there are no trained weights; None if there are."""
    parameters: int
    """Number of parameters before conversion."""
    flops_per_image: int
    load_seconds: float
    peaks: list[Peak] = field(default_factory=list)


def load_subject(case: Case, workspace: Workspace) -> Subject:
    """Build the network of ``case``, load its weights and prepare its route: timed, with its peak of memory.

    The peak is that of loading and converting together, since some formats need both copies of the weights at once.
    A conversion that would take the memory of others ends by a limit.

    Raises:
        InputError: the weights do not fit, or the network cannot be built.
        Unsupported: the network cannot be converted, or this machine cannot run the result.
        MemoryError: converting takes more memory than there is.
    """
    dataset = dataset_of(workspace)
    device = torch.device(case.device)
    weights = given_weights(case) or workspace.artefact
    normalize = normalization_of(case, dataset)
    prepare = preparer_of(case)
    # On a network of its own: one that keeps what it makes in its first call would keep tensors without content.
    parameters, flops = size_of(lambda: build(case, dataset), (3, case.image_size, case.image_size))
    torch.manual_seed(case.seed)
    torch.zeros(1, device=device)  # creates the CUDA context, which is no part of loading
    peaks: list[Peak] = []
    with peak_of("load", device, peaks), memory_limit():
        begin = time.perf_counter()
        order = Order(
            case=case,
            workspace=workspace,
            network=_network(case, dataset, weights),
            calibration=lambda: calibration_batches(dataset, normalize, case.image_size),
        )
        route = prepare(order)
        seconds = time.perf_counter() - begin
    return Subject(
        route=route,
        device=device,
        dataset=dataset,
        normalize=normalize,
        weights=sha256_of(weights) if weights else None,
        untrained=None if weights else workspace.untrained or _why_untrained(case),
        parameters=parameters,
        flops_per_image=flops,
        load_seconds=seconds - (route.convert_seconds or 0.0) - (route.compile_seconds or 0.0),
        peaks=peaks,
    )


def reference_network(case: Case, workspace: Workspace) -> nn.Module:
    """The network of ``case`` as the reference route runs it: its weights in float32, on its device."""
    weights = given_weights(case) or workspace.artefact
    return _network(case, dataset_of(workspace), weights).to(case.device)


def _network(case: Case, dataset: ImageDataset, weights: Path | None) -> nn.Module:
    network = build(case, dataset)
    if weights:
        load_weights(weights, network)
    return network.eval()


def size_of(build_one: Callable[[], nn.Module], image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of parameters, and FLOPs of one input, two for each multiply-add of convolutions and products.

    torch counts on tensors without content, which takes neither time nor memory, or on real ones if the network looks
    at its values. The networks that ``build_one`` returns cannot be used afterwards.
    """
    network = build_one().eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return parameters, _flops(network, image_shape)
    except Exception:
        return parameters, _flops(build_one().eval(), image_shape)


def _flops(network: nn.Module, image_shape: tuple[int, ...]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *image_shape))
    return int(counter.get_total_flops())


def calibration_batches(dataset: ImageDataset, normalize: Normalization | None, image_size: int) -> Iterator[Tensor]:
    """Training images from all over the set, without augmentation, in batches on the CPU."""
    count = len(dataset.train.labels)
    rows = np.linspace(0, count - 1, min(count, CALIBRATION_IMAGES)).astype(np.int64)
    batches = evaluation_batches(
        dataset.train,
        normalize=normalize,
        image_size=image_size,
        batch_size=CALIBRATION_BATCH,
        device="cpu",
        indices=rows,
    )
    return (images for images, _ in batches)


def build(case: Case, dataset: ImageDataset) -> nn.Module:
    """Network that ``case`` names, with as many outputs as the case or the data set has classes.

    Raises:
        InputError: the factory fails, or the network does not take images of that size.
    """
    classes = case.option("classes") or len(dataset.classes)
    try:
        return models.classifier(case.model, case.image_size).build(int(classes))
    except models.ModelError as error:
        raise InputError(str(error)) from error


def given_weights(case: Case) -> Path | None:
    """File of the user's own weights; None if there is none."""
    given = case.option("weights")
    return Path(str(given)) if given else None


def normalization_of(case: Case, dataset: ImageDataset) -> Normalization | None:
    """Normalisation of images: as given, else by the data's statistics for a user's weights, else as trained."""
    usual = recipe(case.recipe).normalize if case.recipe else "computed"
    return normalization(str(case.option("normalize") or usual), dataset)


def dataset_of(workspace: Workspace) -> ImageDataset:
    """Data set that was decoded before any case ran."""
    if workspace.decoded is None:
        raise RuntimeError("prepare the data set first")
    return open_dataset(workspace.decoded)


def batch_of(subject: Subject, case: Case) -> Tensor:
    """Real test images (batch_size, 3, image_size, image_size), normalised, repeated if there are too few.

    They are in the number format that the network takes, like the output of an earlier layer.
    """
    rows = np.resize(np.arange(len(subject.dataset.test.labels)), case.batch_size)
    images, _ = next(
        evaluation_batches(
            subject.dataset.test,
            normalize=subject.normalize,
            image_size=case.image_size,
            batch_size=case.batch_size,
            device=subject.device,
            indices=rows,
        )
    )
    layout = getattr(subject.route, "memory_format", torch.contiguous_format)
    return images.to(subject.route.input_dtype).contiguous(memory_format=layout)


def _why_untrained(case: Case) -> str:
    own_size = models.classifier(case.model).image_size
    if case.image_size != own_size:
        return f"not trained at {case.image_size} pixels"
    return f"not trained in budget {case.budget}"
