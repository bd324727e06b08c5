from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.train.averaging import RunningMean


def walk(network: nn.Module, *, seed: int) -> None:
    """As a step would: weights and batch norm's statistics move in place, its count goes up."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ran.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_it_is_torchs_running_mean_bit_for_bit_but_for_whole_numbers(tiny_network: nn.Sequential) -> None:
    ours = RunningMean(tiny_network, 0.9)
    mean = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    theirs = AveragedModel(tiny_network, multi_avg_fn=mean, use_buffers=True)
    for step in range(4):
        walk(tiny_network, seed=step)
        ours.update()
        theirs.update_parameters(tiny_network)
    expected, found = theirs.module.state_dict(), ours.network.state_dict()
    for name, value in found.items():
        if value.is_floating_point():
            assert torch.equal(value, expected[name])
            assert not torch.equal(value, tiny_network.state_dict()[name])
    assert int(found["1.num_batches_tracked"]) == 4


def test_a_step_is_one_kernel_over_all_tensors(tiny_network: nn.Sequential) -> None:
    mean = RunningMean(tiny_network, 0.9)
    kernels = _Kernels()
    with kernels:
        mean.update()
        mean.update()
    assert kernels.ran == ["_foreach_copy_", "_foreach_lerp_"]


def test_warming_up_runs_both_kernels_and_changes_nothing(tiny_network: nn.Sequential) -> None:
    mean = RunningMean(tiny_network, 0.5)
    walk(tiny_network, seed=1)
    before = copy.deepcopy(mean.network.state_dict())
    kernels = _Kernels()
    with kernels:
        mean.warm_up()
    assert {"_foreach_copy_", "_foreach_lerp_"} <= set(kernels.ran)
    for name, value in mean.network.state_dict().items():
        assert torch.equal(value, before[name])
    mean.update()
    for name, value in mean.network.state_dict().items():
        assert torch.equal(value, tiny_network.state_dict()[name])  # the first step is still taken as it is


@pytest.mark.parametrize("steps", [1, 3])
def test_it_goes_on_from_what_was_kept(tiny_network: nn.Sequential, steps: int) -> None:
    through = RunningMean(tiny_network, 0.9)
    for step in range(steps):
        walk(tiny_network, seed=step)
        through.update()
    resumed = RunningMean(tiny_network, 0.9)
    resumed.go_on_from(copy.deepcopy(through.network.state_dict()))
    walk(tiny_network, seed=9)
    for mean in (through, resumed):
        mean.update()
    for name, value in through.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
