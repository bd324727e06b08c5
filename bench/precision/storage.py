"""What a converted network really holds: its tensors as stored, how many weights they stand for, in how many bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


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
