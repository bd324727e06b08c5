"""Converted networks: the conversion of each precision, its result, and the tensors that the result stores."""

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
    """Device and inputs of a network that is to be converted."""

    device: torch.device
    batch_size: int
    image_shape: tuple[int, ...]
    """Shape of one input, without the batch dimension."""
    calibration: Callable[[], Iterator[Tensor]]
    """Batches of training images, as the network takes them, from which scales of activations are derived."""
    spared: tuple[str, ...] = ()
    """Modules that static int8 leaves in floating point, by their names in the network."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A network at its precision, in evaluation mode on its device."""

    network: nn.Module
    input_dtype: torch.dtype = torch.float32
    may_freeze: bool = False
    """True if compiling may fold weights into constants. Folding expands weights that are stored quantised."""


Converter = Callable[[nn.Module, Setting], Converted]
"""Function from a network (float32, on the CPU, in evaluation mode) to its converted form, perhaps in place."""


def converter_of(precision: Precision) -> Converter:
    """Conversion of ``precision``. Its library is imported here, so that the import is not timed as conversion.

    The conversion raises ``Unsupported`` if nothing in a network can be converted, or this machine cannot run it.
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
        Unsupported: the network has no such module.
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
    """Replace the module with the dotted ``name`` (as in ``named_modules``) by ``module``."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Stored weights: ``elements`` numbers of ``bits`` bits, held in ``tensors``, scales included."""

    elements: int
    bits: int
    tensors: tuple[Tensor, ...]


def parameters_as_stored(network: nn.Module) -> Iterator[Stored]:
    """Parameters of ``network``, each once; a PT2E graph's int8 weights count too, though they are buffers."""
    states = _states_of_bitsandbytes(network)
    for tensor in (*network.parameters(), *_rounded_buffers(network)):
        yield _stored(tensor, states.get(id(tensor)))


def tensors_as_stored(network: nn.Module) -> Iterator[Tensor]:
    """Every tensor that ``network`` needs: parameters, buffers, and those that libraries keep apart from both."""
    for stored in parameters_as_stored(network):
        yield from stored.tensors
    yield from network.buffers()


def weights_in(network: nn.Module, bits: int) -> int:
    """Number of weights that are stored in ``bits`` bits or fewer."""
    return sum(stored.elements for stored in parameters_as_stored(network) if stored.bits <= bits)


def _rounded_buffers(network: nn.Module) -> Iterator[Tensor]:
    return (buffer for buffer in network.buffers() if buffer.dtype == torch.int8 and buffer.ndim > 1)


def _states_of_bitsandbytes(network: nn.Module) -> dict[int, Any]:
    """Scales and code books that bitsandbytes keeps outside of parameters and buffers, by the parameter's identity."""
    states: dict[int, Any] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            state = getattr(parameter, "quant_state", None) or _state_of_int8(module, parameter)
            if state is not None:
                states[id(parameter)] = state
        # In bitsandbytes' parametrization of a weight the state is the parametrization's, the bytes are its parent's.
        for expanding in module.children() if isinstance(module, nn.utils.parametrize.ParametrizationList) else ():
            if hasattr(expanding, "quant_state"):
                states[id(module.original)] = expanding.quant_state
    return states


def _state_of_int8(module: nn.Module, parameter: nn.Parameter) -> Tensor | None:
    """Scales of a ``Linear8bitLt``, which move from the weight to the layer at the first call."""
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
    # int4 payloads are padded to whole tiles, so that their size suggests more bits.
    bits = 4 if type(tensor).__name__.startswith("Int4") else 8 * payload.element_size()
    return Stored(elements=tensor.numel(), bits=bits, tensors=(tensor,))


def _tensors_of(state: Any) -> Iterator[Tensor]:
    """Scales, code book and offset of a 4-bit state, and those of its scales if these are quantised too."""
    for value in vars(state).values():
        if isinstance(value, Tensor):
            yield value
        elif type(value) is type(state):
            yield from _tensors_of(value)
