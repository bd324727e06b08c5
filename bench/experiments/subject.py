"""Subject of an inference case: a network with its weights on its device, and real images as its input."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import models
from bench.core.errors import InputError
from bench.core.precisions import PRECISIONS
from bench.core.recipes import recipe
from bench.core.records import Case, Peak
from bench.core.workspace import Workspace, sha256_of
from bench.data.augmentation import Normalization, normalization
from bench.data.images import ImageDataset, open_dataset
from bench.data.known import crops
from bench.data.pipelines import evaluation_batches
from bench.experiments.modes import TorchRoute
from bench.experiments.reference import Columns, Reference, columns_of, look_at
from bench.measure.memory import memory_limit, peak_of
from bench.measure.products import flops_of_network
from bench.precision.weights import settle
from bench.runtimes.route import Order, Route, preparer_of
from bench.train.checkpoint import load_weights

CALIBRATION_IMAGES = 256
CALIBRATION_BATCH = 32
PHOTOGRAPH_CROPS = 32
CALIBRATION_CROPS = 64
HELD_OUT_IMAGES = 2000
"""Training images that judge mixed precision, none of which calibrates."""
HELD_OUT_CROPS = 100
"""Crops that do, for a network whose classes are not the data set's."""
GREY_IMAGES = 100


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network in evaluation mode on the route of its case, and where its weights came from."""

    route: Route
    device: torch.device
    dataset: ImageDataset
    normalize: Normalization | None
    look: Callable[[], Reference]
    """Look at the unconverted network, once. It takes a second, which sets after the first, that only take turns, do
    without."""
    digest: Callable[[], str | None]
    """SHA-256 of the weights, see ``weights``."""
    untrained: str | None
    """Reason why there are no trained weights; None if there are."""
    said: tuple[str, ...]
    """Facts that were met while the network was built."""
    columns: Columns
    """Outputs that stand for the data set's classes."""
    photographs: Tensor | None
    """Crops (N, 3, side, side), normalised, for a pretrained network whose classes are not the data set's."""
    load_seconds: float
    peaks: list[Peak] = field(default_factory=list)

    @property
    def weights(self) -> str | None:
        """SHA-256 of the file of trained weights; None if the network is as it was built."""
        return self.digest()

    @property
    def parameters(self) -> int:
        """Number of parameters before conversion."""
        return self.look().parameters

    @property
    def flops_per_image(self) -> int:
        return self.look().flops_per_image

    @property
    def flops_doubtful(self) -> str | None:
        """Reason why the FLOPs cannot be relied on; None where a trace agrees with them."""
        return self.look().flops_doubtful

    @property
    def random(self) -> bool:
        """True if two calls of the unconverted network on one batch differ."""
        return self.look().random

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts to read with every figure of this network."""
        return (*self.said, *self.look().notes)


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
    spec, weights = spec_of(case), weights_of(case, workspace)
    normalize, columns = normalization_of(case, dataset), columns_of(case, spec, dataset)
    prepare = preparer_of(case)
    torch.zeros(1, device=device)  # creates the CUDA context, which is no part of loading
    peaks: list[Peak] = []
    with peak_of("load", device, peaks), memory_limit(device):
        begin = time.perf_counter()
        network, said = _loaded(case, dataset, weights)
        load_seconds = time.perf_counter() - begin
        said += _settled(network, case, dataset)
        begin = time.perf_counter()
        order = Order(
            case=case,
            workspace=workspace,
            network=network,
            calibration=lambda: _calibration(columns, dataset, normalize, case.image_size),
            held_out=lambda: _held_out(columns, dataset, normalize, case.image_size),
            held_out_labels=lambda: _held_out_labels(columns, dataset),
        )
        route = prepare(order)
        seconds = load_seconds + time.perf_counter() - begin
    look = functools.cache(lambda: look_at(lambda: _network(case, dataset, weights), order.image_shape))
    if workspace.set_number == 0:
        reference = look()
        if isinstance(route, TorchRoute):
            reference.check(route.network, PRECISIONS[case.precision])
    return Subject(
        route=route,
        device=device,
        dataset=dataset,
        normalize=normalize,
        look=look,
        digest=functools.cache(lambda: _digest_of(case, weights, look())),
        untrained=None if weights or spec.pretrained else workspace.untrained or _why_untrained(case),
        said=(*said, *columns.said, *_about_normalization(case, spec, normalize)),
        columns=columns,
        photographs=_crops(normalize, case.image_size) if columns.why_not_judged else None,
        load_seconds=seconds - (route.convert_seconds or 0.0) - (route.compile_seconds or 0.0),
        peaks=peaks,
    )


def reference_network(case: Case, workspace: Workspace) -> nn.Module:
    """The network of ``case`` as the reference route runs it: its weights in float32, on its device."""
    return _network(case, dataset_of(workspace), weights_of(case, workspace)).to(case.device)


def _network(case: Case, dataset: ImageDataset, weights: str | None) -> nn.Module:
    network, _ = _loaded(case, dataset, weights)
    _settled(network, case, dataset)
    return network


def _loaded(case: Case, dataset: ImageDataset, weights: str | None) -> tuple[nn.Module, tuple[str, ...]]:
    """Network of ``case`` with its weights, in evaluation mode, and what was done to find them in their file.

    Raises:
        InputError: the network cannot be built, or the weights do not fit.
    """
    torch.manual_seed(case.seed)
    network = build(case, dataset, pretrained=weights is None, adapted=False)
    said = load_weights(weights, network) if weights else ()
    network.eval()
    return network, said


def _settled(network: nn.Module, case: Case, dataset: ImageDataset) -> tuple[str, ...]:
    """Fold derived weights in, and let the network take and return what others do. In place, never timed.

    Returns:
        What was done, a clause each.
    """
    image_shape = (3, case.image_size, case.image_size)
    foreign = _is_foreign(spec_of(case))
    adapted = models.adapt(network, image_shape, grey=is_grey(dataset)) if foreign else ()
    return (*adapted, *settle(network))


def is_grey(dataset: ImageDataset) -> bool:
    """True if the images have no colour: three channels alike, by their statistics and by the first few."""
    few = dataset.test.images[:GREY_IMAGES]
    alike = len(set(dataset.mean)) == len(set(dataset.std)) == 1
    return alike and bool((few == few[..., :1]).all())


def size_of(build_one: Callable[[], nn.Module], image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of parameters, and FLOPs of one input. The networks of ``build_one`` cannot be used afterwards."""
    parameters = sum(parameter.numel() for parameter in build_one().parameters())
    return parameters, flops_of_network(build_one, image_shape).total


def _calibration(
    columns: Columns, dataset: ImageDataset, normalize: Normalization | None, image_size: int
) -> Iterator[Tensor]:
    """Images of the kind that the network is run on: of the data set, or crops of photographs that judge nothing."""
    if columns.why_not_judged is None:
        return calibration_batches(dataset, normalize, image_size)
    further = _crops(normalize, image_size, PHOTOGRAPH_CROPS + CALIBRATION_CROPS)[PHOTOGRAPH_CROPS:]
    return iter(torch.split(further, CALIBRATION_BATCH))


def _held_out(
    columns: Columns, dataset: ImageDataset, normalize: Normalization | None, image_size: int
) -> Iterator[Tensor]:
    """Images of the same kind, other ones."""
    if columns.why_not_judged is None:
        return _training_batches(dataset, normalize, image_size, held_out_rows(len(dataset.train.labels)))
    before = PHOTOGRAPH_CROPS + CALIBRATION_CROPS
    return iter(torch.split(_crops(normalize, image_size, before + HELD_OUT_CROPS)[before:], CALIBRATION_BATCH))


def _held_out_labels(columns: Columns, dataset: ImageDataset) -> npt.NDArray[np.int64] | None:
    """Right outputs of the network for them; None for photographs."""
    if columns.why_not_judged is not None:
        return None
    classes = dataset.train.labels[held_out_rows(len(dataset.train.labels))].astype(np.int64)
    return classes if columns.numbers is None else np.asarray(columns.numbers, dtype=np.int64)[classes]


def calibration_batches(dataset: ImageDataset, normalize: Normalization | None, image_size: int) -> Iterator[Tensor]:
    """Training images from all over the set, without augmentation, in batches on the CPU."""
    return _training_batches(dataset, normalize, image_size, calibration_rows(len(dataset.train.labels)))


def calibration_rows(count: int) -> npt.NDArray[np.int64]:
    """Training images that calibrate, of ``count``, evenly spread."""
    return _spread(np.arange(count), CALIBRATION_IMAGES)


def held_out_rows(count: int) -> npt.NDArray[np.int64]:
    """Training images that judge mixed precision, of ``count``, evenly spread; none of them calibrates."""
    return _spread(np.setdiff1d(np.arange(count), calibration_rows(count)), HELD_OUT_IMAGES)


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]


def _training_batches(
    dataset: ImageDataset, normalize: Normalization | None, image_size: int, rows: npt.NDArray[np.int64]
) -> Iterator[Tensor]:
    batches = evaluation_batches(
        dataset.train,
        normalize=normalize,
        image_size=image_size,
        batch_size=CALIBRATION_BATCH,
        device="cpu",
        indices=rows,
    )
    return (images for images, _ in batches)


def spec_of(case: Case) -> models.ClassifierSpec:
    """The network that ``case`` names, with what its weights want where others trained them.

    Raises:
        InputError: it, or its weights, are not to be had.
    """
    given = case.option("weights")
    try:
        return models.classifier(case.model, case.image_size, str(given) if given else None)
    except models.ModelError as error:
        raise InputError(str(error)) from error


def build(case: Case, dataset: ImageDataset, *, pretrained: bool = True, adapted: bool = True) -> nn.Module:
    """The network that ``case`` names, with as many outputs as it or the data set has classes.

    Args:
        pretrained: put in the weights that it comes with, if any; else it is as it is drawn.
        adapted: let it return logits alone, which costs one image.

    Raises:
        InputError: the factory fails, or the network does not take images of that size.
    """
    classes = int(case.option("classes") or len(dataset.classes))
    spec, image_shape = spec_of(case), (3, case.image_size, case.image_size)
    try:
        network = spec.build(classes) if pretrained else spec.untrained(classes)
        network = models.whole(network, image_shape, case.model)
    except models.ModelError as error:
        raise InputError(str(error)) from error
    if adapted and _is_foreign(spec):
        models.adapt(network, image_shape, grey=is_grey(dataset))
    return network


def _is_foreign(spec: models.ClassifierSpec) -> bool:
    """True if the network is not of this suite: it may return something else than logits."""
    return spec.group in ("user", "pretrained")


def weights_of(case: Case, workspace: Workspace) -> str | None:
    """The file of weights: the user's own (``FILE`` or ``FILE:KEY``), else what a training left.

    None where there is none, and where the network comes with its weights.
    """
    given = case.option("weights")
    if given and spec_of(case).pretrained is None:
        return str(given)
    return str(workspace.artefact) if workspace.artefact and not given else None


def _digest_of(case: Case, weights: str | None, reference: Reference) -> str | None:
    """SHA-256 of the file of weights; of the weights themselves where they come with the network; None untrained."""
    if weights:
        return sha256_of(models.split_key(weights)[0])
    if spec_of(case).pretrained is None:
        return None
    total = hashlib.sha256()
    for name, tensor in sorted(reference.weights.items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def normalization_of(case: Case, dataset: ImageDataset) -> Normalization | None:
    """Means and deviations: as given, else the pretrained weights' own, else the data's for a user's weights, else as
    the network was trained."""
    usual = recipe(case.recipe).normalize if case.recipe else "computed"
    pretrained = spec_of(case).pretrained
    return normalization(str(case.option("normalize") or (pretrained.normalize if pretrained else usual)), dataset)


def dataset_of(workspace: Workspace) -> ImageDataset:
    """Data set that was decoded before any case ran."""
    if workspace.decoded is None:
        raise RuntimeError("prepare the data set first")
    return open_dataset(workspace.decoded)


def _about_normalization(case: Case, spec: models.ClassifierSpec, normalize: Normalization | None) -> tuple[str, ...]:
    """Note on the normalisation of images for a user's own weights, where the command line does not give it."""
    if not case.option("weights") or case.option("normalize") or spec.pretrained:
        return ()
    return (
        f"images are normalised by the training images' own statistics ({words_of(normalize)}): weights that were "
        "trained with others need theirs, by --normalize",
    )


def words_of(normalize: Normalization | None) -> str:
    """Three means, a slash and three deviations, as ``--normalize`` takes them; ``none`` where pixels stay."""
    if normalize is None:
        return "none"
    return "/".join(",".join(f"{value:.4g}" for value in half) for half in normalize)


def _crops(normalize: Normalization | None, image_size: int, count: int = PHOTOGRAPH_CROPS) -> Tensor:
    pixels = torch.from_numpy(crops(count, image_size)).permute(0, 3, 1, 2).float() / 255
    if normalize is None:
        return pixels
    mean, std = (torch.tensor(half).view(1, 3, 1, 1) for half in normalize)
    return (pixels - mean) / std


def batch_of(subject: Subject, case: Case) -> Tensor:
    """Real test images (batch_size, 3, image_size, image_size), normalised, repeated if there are too few.

    They are in the number format that the network takes, like the output of an earlier layer. A pretrained network that
    knows other classes is given photographs.
    """
    layout = getattr(subject.route, "memory_format", torch.contiguous_format)
    if subject.photographs is not None:
        rows = np.resize(np.arange(len(subject.photographs)), case.batch_size)
        crops = subject.photographs[rows].to(subject.device, subject.route.input_dtype)
        return crops.contiguous(memory_format=layout)
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
    return images.to(subject.route.input_dtype).contiguous(memory_format=layout)


def _why_untrained(case: Case) -> str:
    own_size = models.classifier(case.model).image_size
    if case.image_size != own_size:
        return f"not trained at {case.image_size} pixels"
    return f"not trained in budget {case.budget}"
