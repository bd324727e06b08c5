"""Code of each classifier's route, as text: what a user writes to get what a row measured. One literal table.

The lines begin with ``network``, a module of torch in float32 and in evaluation mode, and end with ``run``, which takes
float32 images (N, 3, side, side) to logits as a numpy array. The export writes them into its ``load.py``, the report
prints them, and a test runs them against the route itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.errors import InputError, unknown_name
from bench.core.precisions import MIXED
from bench.core.records import Case
from bench.core.runtimes import RUNTIMES, Kind, precisions_of

__all__ = ["RouteCode", "RouteName", "code_for", "lines_for"]


@dataclass(frozen=True, kw_only=True)
class RouteName:
    """Runtime, precision and mode, written ``runtime:precision:mode``."""

    runtime: str
    precision: str
    mode: str

    def __str__(self) -> str:
        return f"{self.runtime}:{self.precision}:{self.mode}"

    @staticmethod
    def of(case: Case) -> RouteName:
        return RouteName(runtime=case.runtime, precision=case.precision, mode=case.mode)

    @staticmethod
    def parse(text: str, kind: Kind) -> RouteName:
        """The route that ``text`` names. Without a mode it is the runtime's first.

        Raises:
            InputError: a part is missing, or unknown for models of ``kind``.
        """
        runtime, *rest = text.split(":")
        if runtime not in RUNTIMES:
            raise unknown_name("runtime", runtime, RUNTIMES)
        if len(rest) not in (1, 2):
            raise InputError(f"'{text}' is no route; give runtime:precision or runtime:precision:mode.")
        known = precisions_of(runtime, kind)
        if not known:
            models = "image classifiers" if kind == "classifiers" else "language models"
            raise InputError(f"{RUNTIMES[runtime].title} does not run {models} here; give another runtime.")
        if rest[0] not in known:
            raise unknown_name(f"precision of {kind} in {runtime}", rest[0], known)
        modes = RUNTIMES[runtime].modes
        mode = rest[1] if len(rest) == 2 else modes[0]
        if mode not in modes:
            raise unknown_name(f"mode of {runtime}", mode, modes)
        return RouteName(runtime=runtime, precision=rest[0], mode=mode)


@dataclass(frozen=True, kw_only=True)
class RouteCode:
    """Code of a route, in two parts."""

    convert: tuple[str, ...]
    """From ``network`` to files, or to a converted ``network``. It may read ``calibration``, a list of float32 batches
    of training images as the network takes them."""
    load: tuple[str, ...]
    """From those to ``run``."""
    packages: tuple[str, ...]
    """Packages that ``load`` needs, as pip names them; those of ``convert`` too where it writes no files."""
    writes_files: bool
    """True if ``load`` needs the files that ``convert`` wrote, and neither ``network`` nor ``calibration``."""


def lines_for(
    route: RouteName,
    *,
    side: int,
    batch_size: int,
    threads: int,
    corrected: bool = True,
    any_batch: bool = False,
    spared: Sequence[str] = (),
) -> tuple[str, ...]:
    """Lines from ``network`` to ``run``, for people to copy.

    Args:
        side: of the images, in pixels.
        batch_size: images of one call.
        corrected: whether NNCF corrected biases in the row (``runtime_bias_correction`` among its flags).
        any_batch: whether OpenVINO compiled it for batches of any size (``runtime_any_batch`` among them).
        spared: layers that mixed precision leaves in floating point, as the row names them.

    Raises:
        KeyError: the table has no such route.
    """
    code = code_for(
        route,
        side=side,
        batch_size=batch_size,
        threads=threads,
        corrected=corrected,
        any_batch=any_batch,
        spared=spared,
    )
    return (*code.convert, *code.load)


def code_for(
    route: RouteName,
    *,
    side: int,
    batch_size: int,
    threads: int,
    corrected: bool = True,
    any_batch: bool = False,
    spared: Sequence[str] = (),
) -> RouteCode:
    """The two parts of ``lines_for``, and the packages that they need."""
    if route.precision == MIXED:
        route = replace(route, precision="int8_static")
    if route.runtime == "torch":
        return _torch_code(route, threads, spared)
    values = {
        "reshape": "# for batches of any size" if any_batch else "model.reshape([<batch>, 3, <side>, <side>])",
        "batch": str(batch_size),
        "side": str(side),
        "threads": str(threads),
        "hint": "bf16" if route.precision == "bf16" else "f32",
        "half": str(route.precision == "bf16"),
        "uncorrected": str(not corrected),
        **_sparing(route.runtime, spared),
    }
    convert, load, packages = NATIVE_CODE[route.runtime, route.precision]
    return RouteCode(convert=_filled(convert, values), load=_filled(load, values), packages=packages, writes_files=True)


def _sparing(runtime: str, spared: Sequence[str]) -> dict[str, str]:
    """Code that leaves layers in floating point, by the placeholder it stands for: each runtime has its own means."""
    named = list(spared)
    if not named:
        return {"spare": "", "ignore": ""}
    if runtime == "torch":
        return {"spare": f"    for name in {named}:\n        quantizer.set_module_name_qconfig(name, None)\n"}
    if runtime == "onnxruntime":
        return {"spare": f",\n                nodes_to_exclude={named}"}
    return {
        "spare": f"{_OPENVINO_LAYERS.strip()}\nspared = [layers[name] for name in {named}]\n",
        "ignore": "\n                      ignored_scope=nncf.IgnoredScope(names=spared),",
    }


def _filled(text: str, values: dict[str, str]) -> tuple[str, ...]:
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    return tuple(text.strip("\n").splitlines())


def _torch_code(route: RouteName, threads: int, spared: Sequence[str]) -> RouteCode:
    convert, dtype, freezes, packages = TORCH_CODE[route.precision]
    mode = COMPILED if route.mode == "compiled" else ""
    if route.mode == "compiled" and freezes:
        mode = FROZEN + mode
    load = f"torch.set_num_threads(<threads>)\n{mode}{TORCH_RUN.lstrip()}"
    return RouteCode(
        convert=_filled(IMPORT_TORCH + convert.lstrip("\n"), _sparing("torch", spared)),
        load=_filled(load, {"dtype": dtype, "threads": str(threads)}),
        packages=("torch", *packages),
        writes_files=False,
    )


IMPORT_TORCH = "import torch\n"
FROZEN = "torch._inductor.config.freezing = True  # lays out weights beforehand, finds int8 kernels\n"
COMPILED = "network = torch.compile(network, dynamic=False)\n"
TORCH_RUN = """
@torch.inference_mode()
def run(images):
    return network(torch.from_numpy(images).to(torch.<dtype>)).float().numpy()
"""

_LINEAR_OF_TORCHAO = """
from torch import nn
from torchao.quantization import {config}, quantize_
quantize_(network, {config}(set_inductor_config=False), lambda module, name: type(module) is nn.Linear)
"""
_INT4 = """
from torch import nn
from torchao.prototype.quantization.int4.inference_workflow import PrototypeInt4WeightOnlyConfig
from torchao.quantization import quantize_
network = network.to(torch.bfloat16)
config = PrototypeInt4WeightOnlyConfig(group_size=128, set_inductor_config=False)
quantize_(network, config, lambda module, name: type(module) is nn.Linear and module.in_features % 128 == 0)
"""
_INT8_WEIGHTS = """
from torch import nn
from torchao.quantization import IntxUnpackedToInt8Tensor
for layer in [module for module in network.modules() if type(module) in (nn.Conv2d, nn.Linear)]:
    channel = (1, *layer.weight.shape[1:])  # one scale for each output channel
    layer.weight = nn.Parameter(IntxUnpackedToInt8Tensor.from_hp(layer.weight.data, channel, torch.int8), False)
"""
_FOUR_BIT_WEIGHTS = """
import math
from bitsandbytes.nn.parametrize import replace_parameter_4bit
from torch import nn
class Shaped(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
    def forward(self, expanded):
        return expanded.view(self.shape)
for layer in [module for module in network.modules() if type(module) in (nn.Conv2d, nn.Linear)]:
    shape = layer.weight.shape
    rows, columns = shape[0], math.prod(shape[1:])
    replace_parameter_4bit(layer, "weight", quant_type="{kind}", blocksize=64)
    if columns % 2 and rows % 2 == 0:  # rows of an odd length take a slow path
        rows, columns = rows // 2, columns * 2
    layer.parametrizations.weight[0].quant_state.shape = torch.Size((rows, columns))
    nn.utils.parametrize.register_parametrization(layer, "weight", Shaped(shape), unsafe=True)
"""
_LINEAR_EIGHT = """
from bitsandbytes.nn.modules import Int8Params, Linear8bitLt
from torch import nn
for name, old in [pair for pair in network.named_modules() if type(pair[1]) is nn.Linear]:
    new = Linear8bitLt(old.in_features, old.out_features, old.bias is not None, has_fp16_weights=False,
                       threshold={threshold}, device="meta")
    new.weight = Int8Params(old.weight.data, requires_grad=False, has_fp16_weights=False)
    new.bias = old.bias
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new.to("cpu"))
network.eval()
"""
_LINEAR_FOUR = """
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from torch import nn
for name, old in [pair for pair in network.named_modules() if type(pair[1]) is nn.Linear]:
    new = Linear4bit(old.in_features, old.out_features, old.bias is not None, compute_dtype=torch.float32,
                     compress_statistics={nested}, quant_type="{kind}", device="meta")
    new.support_avx512bf16_for_cpu = False  # scales stay in float32
    new.weight = Params4bit(old.weight.data, requires_grad=False, blocksize=64, compress_statistics={nested},
                            quant_type="{kind}", module=new)
    new.bias = old.bias
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new.to("cpu"))
network.eval()
"""
_STATIC_INT8 = """
from torch.export import Dim, export
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
with torch.no_grad():
    example = torch.zeros(2, *calibration[0].shape[1:])
    network = export(network, (example,), dynamic_shapes=({0: Dim.DYNAMIC},)).module(check_guards=False)
    first = {}
    for node in network.graph.nodes:  # a module that is called twice, as ResNet's ReLU, is two groups
        stack = node.meta.get("nn_module_stack")
        if node.op == "call_function" and stack:
            key, (path, kind) = list(stack.items())[-1]
            if first.setdefault(path, key) != key:
                node.meta["nn_module_stack"] = {**stack, key: (key, kind)}
    # Without VNNI two 8-bit products overflow 16 bits: then activations have 7.
    seven_bits = not torch.cpu._is_vnni_supported()
    config = x86.get_default_x86_inductor_quantization_config(reduce_range=seven_bits)
    quantizer = x86.X86InductorQuantizer().set_global(config)
<spare>    network = prepare_pt2e(network, quantizer)
    for batch in calibration:
        network(batch)
    network = convert_pt2e(network)
"""
_AUTOCAST = """
class Autocast(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
    def forward(self, images):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            return self.network(images)
network = Autocast(network).eval()
"""

_TO_BF16 = "network = network.to(torch.bfloat16)"

TORCH_CODE: dict[str, tuple[str, str, bool, tuple[str, ...]]] = {
    "fp32": ("", "float32", True, ()),
    "bf16": (_TO_BF16, "bfloat16", True, ()),
    "bf16_autocast": (_AUTOCAST, "float32", True, ()),
    "int8_static": (_STATIC_INT8, "float32", True, ("torchao",)),
    "int8_dynamic": (
        _LINEAR_OF_TORCHAO.format(config="Int8DynamicActivationInt8WeightConfig"),
        "float32",
        False,
        ("torchao",),
    ),
    "int8_linear": (_LINEAR_OF_TORCHAO.format(config="Int8WeightOnlyConfig"), "float32", False, ("torchao",)),
    "int4_linear": (_INT4, "bfloat16", False, ("torchao",)),
    "int8_weights": (_INT8_WEIGHTS, "float32", False, ("torchao",)),
    "int8_weights_bf16": (_INT8_WEIGHTS + _TO_BF16, "bfloat16", False, ("torchao",)),
    "nf4_weights_bf16": (_TO_BF16 + _FOUR_BIT_WEIGHTS.format(kind="nf4"), "bfloat16", False, ("bitsandbytes",)),
    "nf4_weights": (_FOUR_BIT_WEIGHTS.format(kind="nf4"), "float32", False, ("bitsandbytes",)),
    "fp4_weights": (_FOUR_BIT_WEIGHTS.format(kind="fp4"), "float32", False, ("bitsandbytes",)),
    "int8_bnb": (_LINEAR_EIGHT.format(threshold=0.0), "float32", False, ("bitsandbytes",)),
    "int8_bnb_outliers": (_LINEAR_EIGHT.format(threshold=6.0), "float32", False, ("bitsandbytes",)),
    "nf4": (_LINEAR_FOUR.format(kind="nf4", nested=False), "float32", False, ("bitsandbytes",)),
    "nf4_double": (_LINEAR_FOUR.format(kind="nf4", nested=True), "float32", False, ("bitsandbytes",)),
    "fp4": (_LINEAR_FOUR.format(kind="fp4", nested=False), "float32", False, ("bitsandbytes",)),
}
"""Precision -> conversion, number format of the images, whether weights may be frozen, further packages. On a CPU: TF32
and float16 are for GPUs."""

_ONNX_EXPORT = """
import torch
from torch.export import Dim
example = (torch.zeros(2, 3, <side>, <side>),)
program = torch.onnx.export(network, example, dynamo=True, dynamic_shapes=({0: Dim.DYNAMIC},), external_data=False)
program.save("{file}")
"""
_ONNX_INT8 = """
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
quant_pre_process("exported.onnx", "shaped.onnx")
name = program.model.graph.inputs[0].name
class Calibration:
    feeds = iter([{name: part.numpy()} for batch in calibration for part in batch.split(4)])
    def get_next(self):
        return next(self.feeds, None)
quantize_static("shaped.onnx", "model.onnx", Calibration(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8<spare>)
"""
_ONNX_LOAD = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = <threads>
session = onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
def run(images):
    return session.run(None, {session.get_inputs()[0].name: images})[0]
"""
_OPENVINO_CONVERT = """
import openvino
import torch
model = openvino.convert_model(network, example_input=torch.zeros(2, 3, <side>, <side>))
model.reshape([-1, 3, <side>, <side>])
"""
_OPENVINO_INT8 = """
import nncf
batches = [part.numpy() for batch in calibration for part in batch.split(8)]
<spare>model = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches),<ignore>
                      advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=<uncorrected>))
"""
_OPENVINO_LAYERS = """
layers = {}  # OpenVINO numbers the nodes that belong to no module anew in each process
for node in model.get_ordered_ops():
    if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
        name = node.get_friendly_name()
        layers[name if name.startswith("__module.") else f"{node.get_type_name()} {len(layers) + 1}"] = name
"""
_OPENVINO_SAVE = """
openvino.save_model(model, "model.xml", compress_to_fp16=<half>)
"""
_OPENVINO_LOAD = """
import openvino
core = openvino.Core()
model = core.read_model("model.xml")
<reshape>
settings = {"INFERENCE_PRECISION_HINT": "<hint>", "INFERENCE_NUM_THREADS": <threads>, "PERFORMANCE_HINT": "LATENCY"}
compiled = core.compile_model(model, "CPU", settings)
def run(images):
    return compiled(images)[0]
"""

_ONNX = ("onnxruntime", "numpy")
_OPENVINO = ("openvino", "numpy")
NATIVE_CODE: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = {
    ("onnxruntime", "fp32"): (_ONNX_EXPORT.replace("{file}", "model.onnx"), _ONNX_LOAD, _ONNX),
    ("onnxruntime", "int8_static"): (
        _ONNX_EXPORT.replace("{file}", "exported.onnx") + _ONNX_INT8.lstrip("\n"),
        _ONNX_LOAD,
        _ONNX,
    ),
    ("openvino", "fp32"): (_OPENVINO_CONVERT + _OPENVINO_SAVE.lstrip("\n"), _OPENVINO_LOAD, _OPENVINO),
    ("openvino", "bf16"): (_OPENVINO_CONVERT + _OPENVINO_SAVE.lstrip("\n"), _OPENVINO_LOAD, _OPENVINO),
    ("openvino", "int8_static"): (
        _OPENVINO_CONVERT + _OPENVINO_INT8.lstrip("\n") + _OPENVINO_SAVE.lstrip("\n"),
        _OPENVINO_LOAD,
        _OPENVINO,
    ),
}
"""Runtime and precision -> conversion to files, what runs them, and the packages that the latter needs."""
