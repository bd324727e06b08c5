"""Budgets: which cases a run measures, with how many images, repeats and seconds each. Tables only, no logic.

Work is counted in images, not in epochs, so that a budget takes as long on one data set as on another.
"""

from __future__ import annotations

from bench.core.amounts import Budget, Ceilings, Language, Layers, Rows, Sampling
from bench.core.precisions import CLASSIFIER_PRECISIONS, LANGUAGE_PRECISIONS

COMPILED_KINDS = ("fp32", "int8_static", "int8_weights", "nf4_weights", "int8_bnb")
"""One precision of classifiers for each way in which they compile: the others differ in a number format or a
constant."""
COMPILED_LANGUAGE_KINDS = ("fp32", "int8_packed", "int8_linear_bf16", "nf4")
"""Precisions of language models, one for each library and each way of torch's. bitsandbytes is not compiled: its row
says why."""
BOTH_MODES = ("eager", "compiled")
NATIVE_MODE = ("native",)
"""Modes of runtimes other than torch."""
CEILING_SIDES = (256, 512, 1024, 2048, 4096, 8192, 16384)
"""Sides of the matrices that are multiplied for the hardware's limits: a GPU needs large ones."""
FEATURE_SIDE = 16
"""Side, in pixels, of what a single convolution is given."""

NOTES_CLASSIFIERS = ("cnn_small", "cnn_vgg", "resnet_custom", "resnet14_cifar", "resnet18_cifar")
PRETRAINED_CLASSIFIERS = ("efficientnet_lite0",)
LARGE_BATCHES = ("resnet14_cifar", "resnet18_cifar")
"""Networks that ``quick`` times at batch 32 as well: each group of rows costs it half a minute."""
TORCHVISION_CLASSIFIERS = (
    "resnet18",
    "alexnet",
    "vgg16",
    "squeezenet1_0",
    "densenet161",
    "inception_v3",
    "googlenet",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "mnasnet1_0",
)


BUDGETS: dict[str, Budget] = {
    "smoke": Budget(
        name="smoke",
        summary="every path once, on next to nothing: its figures mean nothing",
        trained=("cnn_small",),
        held_out=("cnn_small",),
        untrained=(*NOTES_CLASSIFIERS[1:], *TORCHVISION_CLASSIFIERS, *PRETRAINED_CLASSIFIERS),
        rows=(
            # As many images as are judged at once: another batch size would have to be compiled for that.
            Rows(precisions=CLASSIFIER_PRECISIONS, modes=("eager",), batch_sizes=(32,), models=("cnn_small",)),
            Rows(precisions=COMPILED_KINDS, modes=("compiled",), batch_sizes=(32,), models=("cnn_small",)),
            Rows(precisions=("fp32",), modes=("eager",), batch_sizes=(2,)),
            Rows(
                runtime="onnxruntime",
                precisions=("fp32", "int8_static"),
                modes=NATIVE_MODE,
                batch_sizes=(32,),
                models=("cnn_small",),
            ),
            Rows(
                runtime="openvino",
                precisions=("fp32", "bf16", "int8_static"),
                modes=NATIVE_MODE,
                batch_sizes=(32,),
                models=("cnn_small",),
            ),
        ),
        layers=Layers(
            widths={"linear": (128,), "conv3x3": (16,)},
            precisions=CLASSIFIER_PRECISIONS,
            modes=("eager",),
            batch_sizes=(2,),
            sampling=Sampling(min_samples=3, min_seconds=0.0, relative_error=1.0, max_seconds=1.0),
        ),
        language=Language(
            models=("smollm2-2-layers",),
            rows=(
                Rows(precisions=LANGUAGE_PRECISIONS, modes=("eager",), batch_sizes=(2,)),
                Rows(precisions=COMPILED_LANGUAGE_KINDS, modes=("compiled",), batch_sizes=(2,)),
                Rows(runtime="openvino", precisions=("int8_weights",), modes=NATIVE_MODE, batch_sizes=(1,)),
                Rows(runtime="onnxruntime", precisions=("int4_weights",), modes=NATIVE_MODE, batch_sizes=(1,)),
                Rows(runtime="llama_cpp", precisions=("q8_0",), modes=NATIVE_MODE, batch_sizes=(1,)),
            ),
            prompt_tokens=(8,),
            prefill=True,
            new_tokens=4,
            context=32,
            stride=16,
            text_tokens=64,
            chat_tokens=4,
            sampling=Sampling(min_samples=3, min_seconds=0.0, relative_error=1.0, max_seconds=1.0),
        ),
        ceilings=Ceilings(cpu_bytes=2**24, cuda_bytes=2**24, sides=(128,), rounds=3),
        twins=("cnn_small",),
        sets=2,
        close_routes=1.5,
        large_image_sizes=(),
        seeds=(0,),
        repeats=1,
        sampling=Sampling(min_samples=3, min_seconds=0.0, relative_error=1.0, max_seconds=1.0),
        loading=Sampling(min_samples=3, min_seconds=0.0, relative_error=1.0, max_seconds=1.0),
        train_images=256,
        epochs=2,
        test_images=100,
        training_timeout=120,
        case_timeout=120,
    ),
    "quick": Budget(
        name="quick",
        summary="the notes' networks, shortly trained: 8 to 18 minutes on two cores",
        trained=NOTES_CLASSIFIERS,
        held_out=("cnn_small",),
        untrained=PRETRAINED_CLASSIFIERS,
        rows=(
            Rows(precisions=("fp32",), modes=("eager",), batch_sizes=(1,), models=NOTES_CLASSIFIERS),
            Rows(precisions=("fp32",), modes=("eager",), batch_sizes=(32,), models=LARGE_BATCHES),
            # Ten to forty seconds of compiling a row and batch size: only where convolutions leave most to gain.
            Rows(
                precisions=("fp32", "bf16", "int8_static"),
                modes=("compiled",),
                batch_sizes=(1,),
                models=("resnet18_cifar",),
            ),
            Rows(
                runtime="onnxruntime",
                precisions=("int8_static",),
                modes=NATIVE_MODE,
                batch_sizes=(1,),
                models=NOTES_CLASSIFIERS,
            ),
            Rows(
                runtime="onnxruntime",
                precisions=("int8_static",),
                modes=NATIVE_MODE,
                batch_sizes=(32,),
                models=LARGE_BATCHES,
            ),
            Rows(
                runtime="openvino",
                precisions=("bf16", "int8_static"),
                modes=NATIVE_MODE,
                batch_sizes=(1,),
                models=NOTES_CLASSIFIERS,
            ),
            Rows(
                runtime="openvino",
                precisions=("bf16", "int8_static"),
                modes=NATIVE_MODE,
                batch_sizes=(32,),
                models=LARGE_BATCHES,
            ),
            # Trained by others, and judged by what it says of photographs.
            Rows(precisions=("fp32",), modes=("eager",), batch_sizes=(1,), models=PRETRAINED_CLASSIFIERS),
            Rows(
                runtime="openvino",
                precisions=("bf16", "int8_static"),
                modes=NATIVE_MODE,
                batch_sizes=(1,),
                models=PRETRAINED_CLASSIFIERS,
            ),
            # Nearly all weights of this network are in linear layers.
            Rows(
                precisions=("int8_bnb", "nf4", "nf4_weights"),
                modes=("eager",),
                batch_sizes=(1,),
                models=("cnn_vgg",),
            ),
        ),
        layers=Layers(
            widths={},
            precisions=("fp32",),
            modes=("eager",),
            batch_sizes=(1,),
            sampling=Sampling(min_samples=20, min_seconds=0.1, relative_error=0.02, max_seconds=0.4),
        ),
        language=Language(
            models=("smollm2-135m",),
            rows=(
                Rows(precisions=("fp32", "bf16", "int8_packed", "nf4"), modes=("eager",), batch_sizes=(1,)),
                # None compiled: most of a minute each, for half of OpenVINO's tokens a second at most.
                Rows(
                    runtime="openvino",
                    precisions=("bf16", "int8_weights", "int4_weights"),
                    modes=NATIVE_MODE,
                    batch_sizes=(1,),
                ),
                Rows(runtime="llama_cpp", precisions=("q8_0",), modes=NATIVE_MODE, batch_sizes=(1,)),
            ),
            prompt_tokens=(64,),
            prefill=False,
            new_tokens=7,
            context=256,
            stride=256,
            text_tokens=2048,
            chat_tokens=0,
            sampling=Sampling(min_samples=6, min_seconds=0.4, relative_error=0.03, max_seconds=4.0),
        ),
        ceilings=Ceilings(cpu_bytes=2**28, cuda_bytes=2**30, sides=CEILING_SIDES, rounds=7),
        twins=("cnn_small", "resnet14_cifar"),
        sets=3,
        close_routes=1.5,
        large_image_sizes=(),
        seeds=(0,),
        repeats=1,
        sampling=Sampling(min_samples=20, min_seconds=0.5, relative_error=0.01, max_seconds=4.0),
        loading=Sampling(min_samples=3, min_seconds=0.0, relative_error=0.05, max_seconds=1.5),
        train_images=16_000,
        train_images_by_model={
            "cnn_vgg": 3_200,
            "resnet_custom": 1_280,
            "resnet14_cifar": 5_120,
            "resnet18_cifar": 800,
        },
        epochs=6,
        test_images=1_000,
        judging_seconds=15,
        recipes={"resnet18_cifar": "short_resnet18_cifar"},
        training_timeout=300,
        case_timeout=180,
    ),
    "gpu": Budget(
        name="gpu",
        summary="bf16 and TF32 first, CUDA graphs, 224 pixels, a model of 8 billion weights: a quarter of an hour",
        trained=("resnet18_cifar",),
        held_out=(),
        untrained=("resnet18", "mobilenet_v2"),
        rows=(
            Rows(
                precisions=("fp32", "tf32", "bf16"), modes=("eager",), batch_sizes=(1024, 1), models=("resnet18_cifar",)
            ),
            Rows(precisions=("bf16",), modes=("reduce-overhead",), batch_sizes=(1024, 1), models=("resnet18_cifar",)),
            Rows(
                precisions=("bf16",),
                modes=("compiled", "max-autotune"),
                batch_sizes=(1024,),
                models=("resnet18_cifar",),
            ),
            Rows(precisions=("fp32", "tf32", "bf16"), modes=("eager",), batch_sizes=(128,), models=("resnet18",)),
            Rows(precisions=("bf16",), modes=("reduce-overhead",), batch_sizes=(128,), models=("resnet18",)),
            Rows(precisions=("fp32", "tf32", "bf16"), modes=("eager",), batch_sizes=(128,), models=("mobilenet_v2",)),
            Rows(precisions=("bf16",), modes=("reduce-overhead",), batch_sizes=(128,), models=("mobilenet_v2",)),
        ),
        layers=Layers(
            widths={"linear": (4096,)},
            precisions=("bf16", "int8_dynamic", "fp8_dynamic"),
            modes=("compiled",),
            batch_sizes=(512,),
            sampling=Sampling(min_samples=20, min_seconds=0.1, relative_error=0.02, max_seconds=0.4),
        ),
        language=Language(
            models=("smollm2-135m", "llama3-8b-shape"),
            rows=(
                Rows(precisions=("fp32", "bf16"), modes=("eager",), batch_sizes=(1,)),
                Rows(precisions=("bf16",), modes=("reduce-overhead",), batch_sizes=(1,)),
                # What the weights take decides only where they are many.
                Rows(precisions=("nf4_bf16",), modes=("eager",), batch_sizes=(1,), models=("llama3-8b-shape",)),
                Rows(
                    precisions=("int4_linear",),
                    modes=("reduce-overhead",),
                    batch_sizes=(1,),
                    models=("llama3-8b-shape",),
                ),
            ),
            prompt_tokens=(128,),
            prefill=True,
            new_tokens=64,
            context=256,
            stride=256,
            text_tokens=2048,
            chat_tokens=10,
            sampling=Sampling(min_samples=60, min_seconds=0.5, relative_error=0.02, max_seconds=1.5),
        ),
        ceilings=Ceilings(cpu_bytes=2**28, cuda_bytes=2**30, sides=CEILING_SIDES, rounds=7),
        twins=("resnet18_cifar",),
        sets=2,
        close_routes=1.5,
        large_image_sizes=(224,),
        large_images_alone=True,
        seeds=(0,),
        repeats=1,
        sampling=Sampling(min_samples=20, min_seconds=0.5, relative_error=0.01, max_seconds=1.5),
        loading=Sampling(min_samples=3, min_seconds=0.0, relative_error=0.05, max_seconds=1.5),
        train_images=100_000,
        epochs=4,
        test_images=10_000,
        judging_seconds=15,
        recipes={"resnet18_cifar": "short_resnet18_cifar"},
        training_timeout=300,
        case_timeout=180,
    ),
    "full": Budget(
        name="full",
        summary="the notes' recipes to the end, every network at every precision: days, so name what you need",
        trained=(*NOTES_CLASSIFIERS, *TORCHVISION_CLASSIFIERS),
        held_out=NOTES_CLASSIFIERS,
        untrained=PRETRAINED_CLASSIFIERS,
        rows=(
            Rows(precisions=CLASSIFIER_PRECISIONS, modes=("eager",), batch_sizes=(256, 128, 32, 1)),
            Rows(precisions=CLASSIFIER_PRECISIONS, modes=("compiled",), batch_sizes=(256, 1)),
            Rows(
                runtime="onnxruntime",
                precisions=("fp32", "int8_static"),
                modes=NATIVE_MODE,
                batch_sizes=(256, 128, 32, 1),
            ),
            Rows(
                runtime="openvino",
                precisions=("fp32", "bf16", "int8_static"),
                modes=NATIVE_MODE,
                batch_sizes=(256, 128, 32, 1),
            ),
        ),
        layers=Layers(
            widths={"linear": (256, 512, 1024, 2048, 4096), "conv3x3": (32, 64, 128, 256, 512)},
            precisions=CLASSIFIER_PRECISIONS,
            modes=BOTH_MODES,
            batch_sizes=(512, 64, 8, 1),
            sampling=Sampling(min_samples=50, min_seconds=0.5, relative_error=0.01, max_seconds=5.0),
        ),
        language=Language(
            models=("smollm2-135m",),
            rows=(
                Rows(precisions=LANGUAGE_PRECISIONS, modes=BOTH_MODES, batch_sizes=(1, 8, 32)),
                Rows(
                    runtime="openvino",
                    precisions=("fp32", "bf16", "int8_weights", "int4_weights"),
                    modes=NATIVE_MODE,
                    batch_sizes=(1,),
                ),
                Rows(runtime="onnxruntime", precisions=("fp32", "int4_weights"), modes=NATIVE_MODE, batch_sizes=(1,)),
                Rows(
                    runtime="llama_cpp",
                    precisions=("gguf", "q8_0", "q4_0", "bf16"),
                    modes=NATIVE_MODE,
                    batch_sizes=(1,),
                ),
            ),
            prompt_tokens=(128, 512, 2048),
            prefill=True,
            new_tokens=128,
            context=1024,
            stride=512,
            text_tokens=None,
            chat_tokens=512,
            sampling=Sampling(min_samples=100, min_seconds=2.0, relative_error=0.005, max_seconds=20.0),
        ),
        ceilings=Ceilings(cpu_bytes=2**28, cuda_bytes=2**30, sides=CEILING_SIDES, rounds=15),
        twins=NOTES_CLASSIFIERS,
        sets=6,
        close_routes=None,
        large_image_sizes=(224,),
        seeds=(0, 1, 2),
        repeats=5,
        sampling=Sampling(min_samples=100, min_seconds=2.0, relative_error=0.005, max_seconds=20.0),
        loading=Sampling(min_samples=6, min_seconds=0.0, relative_error=0.05, max_seconds=90.0),
        train_images=None,
        training_timeout=48 * 3600,
        case_timeout=1800,
    ),
}
