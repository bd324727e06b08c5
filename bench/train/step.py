"""One step of a training: forward pass, backward pass, optimiser."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.core.recipes import Recipe, TestFaults
from bench.measure.clock import synchronize
from bench.train.evaluate import check_logits, evaluating
from bench.train.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step needs. ``network`` is what is called, compiled or not; its weights are the optimiser's."""

    name: str
    network: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    settings: Settings
    device: torch.device
    classes: int

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and mean loss of a batch (N, 3, H, W) with labels (N,), after which the weights have moved."""
        outputs, loss = self.forward(images, labels)
        self.backward(loss)
        self.update()
        return outputs.detach(), loss.detach()

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and mean cross-entropy.

        Raises:
            InputError: what the network returns are no logits.
        """
        with self.settings.arithmetic(self.device):
            outputs = self.network(images)
            check_logits(outputs, self.name, images=len(labels), classes=self.classes)
            loss = functional.cross_entropy(outputs, labels, label_smoothing=self.recipe.label_smoothing)
        return outputs, loss

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def compile_now(step: Step, image_size: int, batch_sizes: Sequence[int]) -> float:
    """Seconds of the first forward and backward pass at each of ``batch_sizes``, which compile what is to be compiled.

    Network and optimiser are afterwards as they were before.
    """
    begin = time.perf_counter()
    with evaluating(step.network, TestFaults(train_mode=True)):
        for size in batch_sizes:
            images = torch.zeros(size, 3, image_size, image_size, device=step.device)
            images = images.to(memory_format=step.settings.memory_format)
            _, loss = step.forward(images, torch.zeros(size, dtype=torch.int64, device=step.device))
            step.backward(loss)
            step.optimizer.zero_grad(set_to_none=True)
    synchronize(step.device)
    return time.perf_counter() - begin
