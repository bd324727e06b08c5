"""The running mean of a network's weights, which a recipe may count in their place."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class RunningMean:
    """A copy of ``network`` that follows it: at each step the share ``stays`` of it remains, batch norm's statistics
    included.

    Whatever moves the network has to move its tensors in place. torch's own ``AveragedModel`` counts its steps on the
    CPU, for which a GPU is waited for at each of them, and takes four kernels more for each buffer of whole numbers.
    """

    def __init__(self, network: nn.Module, stays: float) -> None:
        self._copy = copy.deepcopy(network)
        self._moves = 1 - stays
        self._begun = False
        self._means, self._current = (
            [some for some in _state(one) if _has_mean(some)] for one in (self._copy, network)
        )
        self._others = [
            pair for pair in zip(_state(self._copy), _state(network), strict=True) if not _has_mean(pair[0])
        ]

    @property
    def network(self) -> nn.Module:
        """The copy, with the means so far. What has no mean (counts of batches) is the network's own as of now."""
        for kept, current in self._others:
            kept.copy_(current)
        return self._copy

    def update(self) -> None:
        """After a step of the network. The first of them is taken as it is."""
        _move(self._means, self._current, self._moves if self._begun else None)
        self._begun = True

    def warm_up(self) -> None:
        """Both kernels of an update once, on tensors that are thrown away."""
        for share in (None, self._moves):
            _move([mean.clone() for mean in self._means], self._current, share)

    def go_on_from(self, state: Mapping[str, Tensor]) -> None:
        """As after the step that ``state`` was read after: the state dict of ``network``."""
        self._copy.load_state_dict(dict(state))
        self._begun = True


@torch.no_grad()
def _move(means: list[Tensor], current: list[Tensor], share: float | None) -> None:
    """All of ``means`` by ``share`` of the way to ``current``; the whole way for None."""
    if share is None:
        torch._foreach_copy_(means, current)
    else:
        torch._foreach_lerp_(means, current, share)


def _state(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


def _has_mean(tensor: Tensor) -> bool:
    return tensor.is_floating_point()
