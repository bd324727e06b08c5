"""Weights that a network computes with: settled before they are converted, and compared with the result afterwards.

``weight`` of a layer is not always what its forward multiplies by: weight norm, spectral norm and pruning derive it at
each call, and it is stale after a state dict was loaded. A conversion that starts from stale weights gives a row of
good latency and of another network's accuracy. So derived weights are put in place first, and every converted layer is
compared with what the unconverted network multiplies by, seen from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from bench.core.errors import Unsupported
from bench.core.precisions import Precision

MULTIPLYING = (functional.linear, functional.conv1d, functional.conv2d, functional.conv3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
FUSED = "torch's fused encoder layer"
SLACK = 1.02
"""Room for the rounding of scales, which are numbers of few bits themselves."""
FOUR_BITS = ("nf4", "fp4")
FOUR_BIT_ERROR = 0.5
"""Largest relative error (Frobenius norms) of a layer rounded to 4 bits in blocks. Rounding alone stays below 0.2. No
bound holds for each weight: bitsandbytes' CPU kernel expands rows shorter than a block by a neighbouring block's scale.
Weights of another network are 1.4 off."""
INT8_IN_BFLOAT16 = "int8 in bfloat16"
"""int8 whose scales and expanded weights are rounded to bfloat16."""
FLOAT8_LARGEST = 448.0
"""Largest number of float8 (e4m3)."""
EXPORTED_ERROR = 0.01
"""Largest relative error of an exported network before anything is rounded: adding in another order gives 1e-6."""
TRIED_IMAGES = 3
"""Not the batch size that networks are exported with, which may have become a constant."""


class WrongConversion(RuntimeError):
    """A conversion did not start from the weights that the network computes with."""


@torch.no_grad()
def check_exported(title: str, network: nn.Module, run: Callable[[Tensor], Tensor], image_shape: Sequence[int]) -> None:
    """See that what was exported of ``network`` computes the same in float32, on images other than those it saw.

    A trace keeps the one branch that it took, and sizes of its batch, without a word. What draws random numbers cannot
    be compared.

    Args:
        title: of the runtime, for the message.
        run: the exported network: images (N, *image_shape) to outputs.

    Raises:
        Unsupported: it computes something else.
    """
    images = torch.randn(TRIED_IMAGES, *image_shape, generator=torch.Generator().manual_seed(0))
    expected = network(images.clone()).float()  # a copy for each: a network may write into its input
    allowed = EXPORTED_ERROR * float(expected[expected.isfinite()].norm())
    if not _off(network(images.clone()).float(), expected) <= allowed:
        return
    off = _off(run(images.clone()).float(), expected)
    if not off <= allowed:
        share = f"{EXPORTED_ERROR * off / allowed:.1%} off" if allowed else "not those"
        raise Unsupported(
            f"{title} computes something else than this network, before anything is rounded: outputs for "
            f"{TRIED_IMAGES} images of noise are {share}; does it branch on values, or on the size of the batch?"
        )


def _off(outputs: Tensor, expected: Tensor) -> float:
    """Frobenius norm of the difference; the same infinity or NaN is none."""
    if outputs.shape != expected.shape:
        return float("inf")
    same = (outputs == expected) | (outputs.isnan() & expected.isnan())
    return float((outputs - expected).masked_fill(same, 0.0).norm())


@torch.no_grad()
def settle(network: nn.Module) -> tuple[str, ...]:
    """Put derived weights in their place for good: weight norm, spectral norm, pruning and other parametrizations.

    Returns:
        One clause that says what was folded, and into how many layers; nothing where no weight is derived.
    """
    folded: dict[str, int] = {}
    for module in list(network.modules()):
        for kind in (*_fold_hooks(module), *_fold_parametrizations(module)):
            folded[kind] = folded.get(kind, 0) + 1
    said = ", ".join(f"{kind} of {count}" for kind, count in folded.items())
    return (f"derived weights are folded in before anything is timed: {said} tensors",) if folded else ()


def _fold_hooks(module: nn.Module) -> Iterator[str]:
    for key, hook in list(module._forward_pre_hooks.items()):
        name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
        if isinstance(hook, WeightNorm | SpectralNorm):
            if isinstance(hook, SpectralNorm):
                weight = hook.compute_weight(module, do_power_iteration=False)
            else:
                weight = hook.compute_weight(module)
            remove: Callable[[nn.Module], None] = hook.remove
            remove(module)
            del module._forward_pre_hooks[key]
            if isinstance(hook, SpectralNorm):
                _forget_spectral_hooks(module, hook)
            setattr(module, hook.name, nn.Parameter(weight.detach().clone()))
            yield "weight norm" if isinstance(hook, WeightNorm) else "spectral norm"
        elif isinstance(hook, prune.BasePruningMethod):
            fold: Callable[[nn.Module, str], object] = prune.remove
            fold(module, str(name))
            yield "pruning"


def _forget_spectral_hooks(module: nn.Module, hook: SpectralNorm) -> None:
    """Remove the hooks of old spectral norm on saving and loading a state dict: its tensors are gone."""
    for hooks in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
        for key, value in list(hooks.items()):
            if getattr(getattr(value, "hook", value), "fn", None) is hook:
                del hooks[key]


def _fold_parametrizations(module: nn.Module) -> Iterator[str]:
    if not parametrize.is_parametrized(module):
        return
    lists: Any = module.parametrizations
    for name in list(lists):
        kinds = [type(each).__name__.strip("_") for each in lists[name]]
        learnt = any(True for _ in lists[name].parameters(recurse=False))
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        if learnt and name not in module._parameters:  # without gradients torch takes the result for a buffer
            whole = getattr(module, name).detach().clone()
            delattr(module, name)
            module.register_parameter(name, nn.Parameter(whole))
        yield " and ".join(kinds)


class _Watch(TorchFunctionMode):
    """Hands over each torch function that runs, with its tensors, and the layer in whose own forward it does."""

    def __init__(self, see: Callable[[Callable[..., Any], Sequence[Tensor], str | None], None]) -> None:
        super().__init__()
        self.see = see
        self.stack: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = list(_tensors_in((*args, *(kwargs or {}).values())))
        self.see(func, given, self.stack[-1] if self.stack else None)
        return func(*args, **(kwargs or {}))

    @contextmanager
    def over(self, network: nn.Module) -> Iterator[None]:
        """Watch ``network``, run eagerly even where it compiles itself."""
        with torch.no_grad(), ExitStack() as handles:
            for name, module in network.named_modules():
                if isinstance(module, LAYERS):
                    # Last before and first after the forward: what other hooks do is not the layer's own product.
                    enter = module.register_forward_pre_hook(self._enter(name))
                    leave = module.register_forward_hook(self._leave, prepend=True, always_call=True)
                    handles.callback(enter.remove)
                    handles.callback(leave.remove)
            handles.enter_context(torch.compiler.set_stance("force_eager"))
            handles.enter_context(self)
            yield

    def _enter(self, name: str) -> Callable[[nn.Module, Any], None]:
        def push(module: nn.Module, inputs: Any) -> None:
            self.stack.append(name)

        return push

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.stack.pop()


def computed_with(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The weight that each convolution and linear layer multiplies by as ``images`` pass, by the layer's name.

    Seen from outside: whatever derives a weight has done so. Layers that do not run in their own forward are left out.
    """
    weights: dict[str, Tensor] = {}

    def see(func: Callable[..., Any], given: Sequence[Tensor], layer: str | None) -> None:
        if func in MULTIPLYING and layer is not None and len(given) > 1:
            weights[layer] = given[1].detach()

    with _Watch(see).over(network):
        network(images)
    return weights


def read_elsewhere(network: nn.Module, images: Tensor) -> dict[str, str]:
    """Layers whose weight something else than their own forward reads as ``images`` pass, with the reader's name.

    Fused encoder layers, tied heads and hand-written products read ``layer.weight`` themselves: they would get what a
    replaced layer stores, which is no matrix of floating point.
    """
    layers = {name: module for name, module in network.named_modules() if isinstance(module, LAYERS)}
    fused = (name for name, module in network.named_modules() if isinstance(module, nn.TransformerEncoderLayer))
    owners = {id(module._parameters.get("weight")): name for name, module in layers.items()}
    # The fused operator of these is not taken while torch functions are watched.
    seen = {f"{name}.{layer}": FUSED for name in fused for layer in ("linear1", "linear2")}

    def see(func: Callable[..., Any], given: Sequence[Tensor], layer: str | None) -> None:
        own = id(layers[layer].weight) if layer is not None else None
        for value in given:
            if id(value) in owners and id(value) != own and not _harmless(func):
                seen.setdefault(owners[id(value)], getattr(func, "__name__", str(func)))

    with _Watch(see).over(network):
        network(images)
    return seen


def check_readers(network: nn.Module, elsewhere: Mapping[str, str], precision: Precision) -> None:
    """See that nothing but a layer's own forward reads the weight of a layer that was replaced as a whole.

    Args:
        network: after its conversion.
        elsewhere: what ``read_elsewhere`` saw before.

    Raises:
        Unsupported: something does, and would get what the library stores.
    """
    for name, reader in elsewhere.items():
        with suppress(AttributeError):  # a graph has no modules of these names
            if type(network.get_submodule(name)).__module__.startswith("bitsandbytes"):
                raise Unsupported(
                    f"the weight of {name} is read by {reader}, outside of the layer's own forward: {precision.name} "
                    "replaces linear layers as wholes, and would leave that with weights that it cannot read"
                )


def _harmless(func: Callable[..., Any]) -> bool:
    """True if ``func`` only asks what a tensor is like: its properties' getters, sizes and kinds."""
    return getattr(func, "__name__", "") in {"__get__", "dim", "size", "numel", "is_floating_point", "is_complex"}


def _tensors_in(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors_in(value)


def check_conversion(network: nn.Module, expected: Mapping[str, Tensor], precision: Precision) -> int:
    """Compare the weights of every converted layer, expanded, with those that the unconverted network multiplies by.

    Args:
        network: after its conversion.
        expected: what ``computed_with`` saw of the network before.

    Returns:
        How many layers were compared.

    Raises:
        WrongConversion: a weight is further off than the format's rounding allows.
    """
    compared = 0
    for name, weight in expected.items():
        try:
            layer = network.get_submodule(name)
        except AttributeError:  # a graph has no modules of these names: it was compared as it was exported
            continue
        stored = expanded(layer)
        if stored is None or stored.numel() != weight.numel():
            continue
        compared += 1
        check_weight(name, stored.float().cpu().reshape(weight.shape), weight.float().cpu(), layer, precision)
    return compared


@torch.no_grad()
def check_weight(name: str, stored: Tensor, weight: Tensor, layer: nn.Module, precision: Precision) -> None:
    """See that ``stored`` is ``weight`` rounded.

    Raises:
        WrongConversion: it is further off.
    """
    kind = _format_of(layer, precision)
    if kind in FOUR_BITS:
        off = float((stored - weight).norm() / weight.norm().clamp(min=1e-12))
        if not off <= FOUR_BIT_ERROR:
            raise WrongConversion(
                f"{precision.name} did not start from the weights that {name} computes with: after converting they are "
                f"{off:.0%} off, where rounding to {kind} allows {FOUR_BIT_ERROR:.0%}"
            )
        return
    allowed = bound(weight, kind)
    beyond = (stored - weight).abs() - allowed
    worst = float(beyond.max()) if beyond.numel() else 0.0
    if worst > 0 or not bool(torch.isfinite(stored).all()):
        place = int(beyond.argmax())
        raise WrongConversion(
            f"{precision.name} did not start from the weights that {name} computes with: one is "
            f"{float(weight.flatten()[place]):.4g} there and {float(stored.flatten()[place]):.4g} after converting, "
            f"where rounding allows {float(allowed.expand_as(weight).flatten()[place]):.2g}"
        )


def expanded(layer: nn.Module) -> Tensor | None:
    """The weight of ``layer`` in floating point, whatever it is stored as; None where it has none."""
    weight: Any = getattr(layer, "weight", None)
    if weight is None:
        return None
    state = getattr(layer, "state", None)
    if type(layer).__name__ == "Linear8bitLt":
        codes = weight.CB if getattr(weight, "CB", None) is not None else getattr(state, "CB", None)
        scales = weight.SCB if getattr(weight, "SCB", None) is not None else getattr(state, "SCB", None)
        codes = weight.data if codes is None else codes
        return None if scales is None else _floating(codes.float() * scales.float()[:, None] / 127)
    if getattr(weight, "quant_state", None) is not None:
        from bitsandbytes.functional import dequantize_4bit

        found: Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return found
    scale = getattr(layer, "scale", None)
    if weight.dtype == torch.int8 and isinstance(scale, Tensor):
        return _floating(weight.float() * scale.float()[:, None])
    if hasattr(weight, "dequantize") and type(weight) not in (Tensor, nn.Parameter):
        try:
            weight = weight.dequantize()
        except NotImplementedError:  # packed for its kernel alone: multiplied by an identity it shows its numbers
            weight = functional.linear(torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device), weight).T
    return _floating(weight)


def _floating(tensor: Tensor) -> Tensor | None:
    return tensor if tensor.is_floating_point() else None


def bound(weight: Tensor, kind: str) -> Tensor:
    """Largest error of each weight when rounded to ``kind``: int8, int4, float8, or a format of floating point."""
    rows = weight.reshape(len(weight), -1).abs().amax(1).view(-1, *[1] * (weight.ndim - 1))
    if kind in ("int8", INT8_IN_BFLOAT16):  # bitsandbytes rounds to float16 before
        return SLACK * rows / 127 / 2 + weight.abs() * (2**-8 if kind == "int8" else 2**-7) + 1e-7
    if kind == "float8_e4m3fn":  # 3 bits of mantissa, and steps of 2^-9 near zero
        return SLACK * (weight.abs() * 2**-4 + rows / FLOAT8_LARGEST * 2**-10) + weight.abs() * 2**-8 + 1e-7
    if kind == "int4":
        return 2 * rows / 15 + rows * 2**-7 + 1e-7  # a whole step: the zero point is rounded as well
    bits = {"float16": 11, "bfloat16": 8}.get(kind, 22)
    return weight.abs() * 2.0**-bits + 1e-7


def _format_of(layer: nn.Module, precision: Precision) -> str:
    weight: Any = getattr(layer, "weight", None)
    if type(layer).__name__ == "Linear8bitLt" or getattr(weight, "dtype", None) == torch.int8:
        return "int8"
    if getattr(weight, "quant_state", None) is not None or _parametrized_in_four_bits(layer):
        return str(precision.settings.get("quant_type", "fp4"))
    if type(weight) not in (Tensor, nn.Parameter) and hasattr(weight, "dequantize"):
        payload = getattr(weight, "qdata", None)  # torchao's name in all its tensors
        if payload is not None and payload.is_floating_point():
            return str(payload.dtype).removeprefix("torch.")
        if "int4" in type(weight).__name__.lower():
            return "int4"
        return INT8_IN_BFLOAT16 if weight.dtype == torch.bfloat16 else "int8"
    return str(getattr(weight, "dtype", "")).removeprefix("torch.")


def _parametrized_in_four_bits(layer: nn.Module) -> bool:
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    return any(hasattr(each, "quant_state") for each in layer.parametrizations.weight)  # type: ignore[union-attr]
