"""What a conversion needs to know, what it gives back, and where it is found."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import Unsupported
from bench.core.precisions import Precision

WEIGHTED = (nn.Conv2d, nn.Linear)
"""Layers that hold nearly all weights of a classifier and do nearly all of its arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the network is going to run, and on what."""

    device: torch.device
    batch_size: int
    image_shape: tuple[int, ...]
    """Shape of one input, without the batch."""
    calibration: Callable[[], Iterator[Tensor]]
    """Batches of training images as the network takes them, for scales of activations."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A network at its precision, in evaluation mode on its device."""

    network: nn.Module
    input_dtype: torch.dtype = torch.float32
    may_freeze: bool = False
    """Whether compiling may fold weights into constants. It would expand those that are stored quantised."""


Converter = Callable[[nn.Module, Setting], Converted]
"""Takes a network (float32, on the CPU, in evaluation mode) to its device and precision, perhaps in place."""


def converter_of(precision: Precision) -> Converter:
    """The conversion of ``precision``. Its library is imported here, which is no part of converting.

    The conversion raises ``Unsupported`` where nothing in a network can be converted, or this machine cannot run it.
    """
    if precision.convert is None:
        raise Unsupported(f"{precision.name} is for language models only")
    module, _, function = precision.convert.partition(":")
    chosen: Callable[..., Converted] = getattr(importlib.import_module(f"bench.precision.{module}"), function)

    @torch.no_grad()
    def convert(network: nn.Module, setting: Setting) -> Converted:
        return chosen(network, setting, **precision.settings)

    return convert


def layers_of(network: nn.Module, kinds: Sequence[type[nn.Module]]) -> list[str]:
    """Names of the modules of exactly these ``kinds``, each once: a subclass may compute something else.

    Layers with hooks of their own are left out, and so are those whose weight is no parameter of theirs: what runs
    there is more than the layer. So are complex ones.

    Raises:
        Unsupported: there is none.
    """
    names = [name for name, module in network.named_modules() if type(module) in kinds and _is_plain(module)]
    if not names:
        raise Unsupported(f"the network has no {' or '.join(kind.__name__ for kind in kinds)}: nothing to convert")
    return names


def _is_plain(layer: nn.Module) -> bool:
    weight = layer._parameters.get("weight")
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return weight is not None and weight.is_floating_point() and not hooked


def replace_layers(
    network: nn.Module, names: Sequence[str], make: Callable[[nn.Module, nn.Module | None], nn.Module]
) -> None:
    """Put what ``make`` makes of each layer in its place, wherever the layer is used.

    Args:
        names: as ``layers_of`` gives them.
        make: gets a layer, and what it made of an earlier layer with the same parameter for a weight, if there was
            one: then it has to share what that one stores.
    """
    made: dict[int, nn.Module] = {}
    by_weight: dict[int, nn.Module] = {}
    chosen = {id(network.get_submodule(name)) for name in names}
    # Under every name: a layer that is used in two places is one layer.
    places = [(name, module) for name, module in network.named_modules(remove_duplicate=False) if id(module) in chosen]
    for name, module in places:
        if id(module) not in made:
            weight: Any = module.weight
            made[id(module)] = make(module, by_weight.get(id(weight)))
            by_weight.setdefault(id(weight), made[id(module)])
        replace_module(network, name, made[id(module)])


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where the module called ``name`` is, by a dotted name as ``named_modules`` gives it."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Some weights of a network: ``elements`` numbers of ``bits`` bits, held in ``tensors`` (scales and all)."""

    elements: int
    bits: int
    tensors: tuple[Tensor, ...]


def parameters_as_stored(network: nn.Module) -> Iterator[Stored]:
    """The parameters of ``network``, each once. A graph from PT2E holds its int8 weights as buffers: they count."""
    states = _states_of_bitsandbytes(network)
    for tensor in (*network.parameters(), *_rounded_buffers(network)):
        yield _stored(tensor, states.get(id(tensor)))


def tensors_as_stored(network: nn.Module) -> Iterator[Tensor]:
    """Every tensor that has to be kept to run ``network``: parameters, buffers, and what libraries keep beside them."""
    for stored in parameters_as_stored(network):
        yield from stored.tensors
    yield from network.buffers()


def weights_in(network: nn.Module, bits: int) -> int:
    """How many weights are stored in ``bits`` bits or fewer."""
    return sum(stored.elements for stored in parameters_as_stored(network) if stored.bits <= bits)


def _rounded_buffers(network: nn.Module) -> Iterator[Tensor]:
    return (buffer for buffer in network.buffers() if buffer.dtype == torch.int8 and buffer.ndim > 1)


def _states_of_bitsandbytes(network: nn.Module) -> dict[int, Any]:
    """What bitsandbytes keeps outside of parameters and buffers, by the identity of the parameter."""
    states: dict[int, Any] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            state = getattr(parameter, "quant_state", None) or _state_of_int8(module, parameter)
            if state is not None:
                states[id(parameter)] = state
        # bitsandbytes' parametrization of a weight: the bytes are its sibling's, the state its own.
        for expanding in module.children() if isinstance(module, nn.utils.parametrize.ParametrizationList) else ():
            if hasattr(expanding, "quant_state"):
                states[id(module.original)] = expanding.quant_state
    return states


def _state_of_int8(module: nn.Module, parameter: nn.Parameter) -> Tensor | None:
    """Scales of a ``Linear8bitLt``: with the weight until the first call, with the layer after it."""
    if parameter is not getattr(module, "weight", None):
        return None
    kept = getattr(parameter, "SCB", None)
    return kept if kept is not None else getattr(getattr(module, "state", None), "SCB", None)


def _stored(tensor: Tensor, state: Any) -> Stored:
    if isinstance(state, Tensor):
        return Stored(elements=tensor.numel(), bits=8, tensors=(tensor, state))
    if state is not None:
        return Stored(elements=math.prod(state.shape), bits=4, tensors=(tensor, *_tensors_of(state)))
    payload = getattr(tensor, "qdata", None)  # torchao's name in all its tensors
    if payload is None:
        return Stored(elements=tensor.numel(), bits=8 * tensor.element_size(), tensors=(tensor,))
    # int4 payloads are padded to whole tiles: their size tells more bits than they mean.
    bits = 4 if type(tensor).__name__.startswith("Int4") else 8 * payload.element_size()
    return Stored(elements=tensor.numel(), bits=bits, tensors=(tensor,))


def _tensors_of(state: Any) -> Iterator[Tensor]:
    """Scales, code book and offset of a 4-bit state, and of the state of its scales where those are quantised too."""
    for value in vars(state).values():
        if isinstance(value, Tensor):
            yield value
        elif type(value) is type(state):
            yield from _tensors_of(value)
