"""One process of a training on several: ``python -m bench.experiments.scaling_process REQUEST``, by torchrun."""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import json
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from bench.core.amounts import Sampling
from bench.core.experiments import sampling_of
from bench.core.records import Case, from_json, to_json
from bench.core.workspace import Workspace
from bench.data.images import ImageDataset
from bench.experiments.scaling import global_batch, on_device
from bench.experiments.subject import build
from bench.experiments.training import dataset_for, initialised, set_arithmetic, training_of
from bench.experiments.training_record import option_count
from bench.measure import clock, machine, memory
from bench.train.evaluate import evaluate_split
from bench.train.state import Run, begin
from bench.train.step import Step
from bench.train.training import Training, epoch_indices, split_indices

CALLS = 5
"""Steps of a turn; the first is not timed, since the others have used the caches meanwhile."""
DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""
LOOK_SECONDS = 0.5
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Team:
    """This process and the others of the training."""

    rank: int
    processes: int
    device: torch.device

    def part(self, images: Tensor, labels: Tensor) -> Batch:
        """This process's images (N / processes, 3, H, W) and labels of a global batch; a rest is left out."""
        mine = slice(self.rank, self.whole(labels), self.processes)
        last = images.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        return images[mine].contiguous(memory_format=layout), labels[mine].contiguous()

    def whole(self, labels: Tensor) -> int:
        """Images of a batch of which every process has as many."""
        return len(labels) // self.processes * self.processes

    def agree(self, decision: bool) -> bool:
        """Decision of the first process, in every process."""
        answer = torch.tensor(int(decision), device=self.device)
        distributed.broadcast(answer, src=0)
        return bool(answer)

    def wait(self) -> None:
        """Wait until every process is here and its device is idle."""
        clock.synchronize(self.device)
        distributed.barrier()


def end_with(parent: int) -> None:
    """End this process when the process ``parent`` that started it is gone, however that was ended.

    torchrun makes this process the leader of a session: no signal to the group of its parent arrives here.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it was gone before
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def main(file: str) -> None:
    """Train and time as the request in ``file`` says. Rank 0 writes the result."""
    request = json.loads(Path(file).read_text())
    end_with(request["parent"])
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    case = on_device(from_json(Case, request["case"]), rank)
    paths = {name: Path(path) for name, path in request["workspace"].items()}
    workspace = Workspace(results=paths["results"], data_dir=paths["data_dir"], decoded=paths.get("decoded"))
    team = Team(rank=rank, processes=processes, device=torch.device(case.device))
    machine.set_flags(threads=int(case.option("threads_each") or 1), device=case.device)
    distributed.init_process_group("nccl" if team.device.type == "cuda" else "gloo")
    try:
        found = measured(case, workspace, team)
        if rank == 0:
            Path(request["result"]).write_text(json.dumps(found))
    except Exception as error:
        Path(f"{request['result']}.failed").write_text(f"{type(error).__name__}: {error}")
        raise
    distributed.destroy_process_group()


def measured(case: Case, workspace: Workspace, team: Team) -> dict[str, Any]:
    """Check the gradients, train, judge, then time steps in turns with those of one process alone."""
    set_arithmetic(case, workspace)
    dataset = dataset_for(case, workspace)
    network = initialised(case, lambda: build(case, dataset), dataset)
    training = training_of(case, workspace, dataset, network)
    one_batch = training.recipe.batch_size
    recipe = dataclasses.replace(training.recipe, batch_size=global_batch(case))
    training = dataclasses.replace(training, recipe=recipe)
    shared = begin(training)
    parallel = DistributedDataParallel(shared.network, device_ids=[team.rank] if team.device.type == "cuda" else None)
    step = dataclasses.replace(shared.step, network=parallel)
    images, labels = _first_batch(training, shared)
    found: dict[str, Any] = {
        "gradient_error": gradient_error(parallel, images, labels, team),
        "global_batch": team.whole(labels),
        "weight_bytes": memory.weight_bytes(network),
        "batch_norm": any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()),
        "flags": machine.current_flags(),
        **_trained(training, shared, step, team),
        "predictions": _predictions(case, training, dataset) if team.rank == 0 else [],
    }
    alone = begin(dataclasses.replace(training, network=copy.deepcopy(network))).step
    part, first = team.part(images, labels), (images[:one_batch], labels[:one_batch])
    network.train()
    found |= timed(lambda: step(*part), lambda: alone(*first), sampling_of(case), team)
    found["peaks"] = to_json(memory.steady_peaks(lambda: step(*part), team.device))
    return found


def _first_batch(training: Training, shared: Run) -> Batch:
    kept, _ = split_indices(training.recipe, training.dataset)
    return next(iter(shared.feed(kept, 0)))


def gradient_error(parallel: DistributedDataParallel, images: Tensor, labels: Tensor, team: Team) -> float:
    """Length of the difference of gradients to one process's, divided by the length of that one's.

    Both are of the mean cross-entropy of the same global batch, images (N, 3, H, W) with labels (N,), in evaluation
    mode: dropout draws otherwise in each process, and batch norm would see another batch.
    """
    parallel.eval()
    alone = copy.deepcopy(parallel.module)
    part, whole = team.part(images, labels), team.whole(labels)
    for network, inputs, answers in ((parallel, *part), (alone, images[:whole], labels[:whole])):
        functional.cross_entropy(network(inputs), answers).backward()  # type: ignore[no-untyped-call]
    mine, expected = _gradients(parallel.module), _gradients(alone)
    parallel.zero_grad(set_to_none=True)
    return float((mine - expected).norm() / expected.norm())


def _gradients(network: nn.Module) -> Tensor:
    """All gradients in one row of float64."""
    return torch.cat([weight.grad.double().flatten() for weight in network.parameters() if weight.grad is not None])


def _trained(training: Training, shared: Run, step: Step, team: Team) -> dict[str, Any]:
    """Train to the end of the schedule: the seconds of each epoch, and the steps.

    Each process prepares the whole batch and takes its part, so that images and order are those of one process.
    """
    kept, _ = split_indices(training.recipe, training.dataset)
    seconds, steps = list[float](), 0
    for epoch in range(training.schedule.epochs):
        torch.manual_seed(training.seed + 1000 * epoch + team.rank)  # dropout draws otherwise in each process
        training.network.train()
        team.wait()
        started = clock.now(team.device)
        indices = epoch_indices(kept, training.schedule.images_per_epoch, training.seed, epoch)
        for images, labels in _at_least(2 * team.processes, shared.feed(indices, epoch)):
            step(*team.part(images, labels))
            shared.after_step(training.recipe)
            steps += 1
        seconds.append(clock.now(team.device) - started)
        if training.recipe.one_cycle is None:
            shared.scheduler.step()
    training.network.load_state_dict(shared.counting.state_dict())
    return {"epoch_seconds": seconds, "steps": steps}


def _at_least(images: int, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches of so many images or more: batch norm refuses a part of one image."""
    return (batch for batch in batches if len(batch[1]) >= images)


def _predictions(case: Case, training: Training, dataset: ImageDataset) -> list[int]:
    asked, there = option_count(case, "test_images"), len(dataset.test.labels)
    judged = evaluate_split(
        training.network,
        dataset.test,
        recipe=training.recipe,
        dataset=dataset,
        image_size=training.image_size,
        device=training.device,
        indices=np.arange(min(asked or there, there)),
    )
    labels: list[int] = judged.predictions.tolist()
    return labels


def timed(
    together: Callable[[], object], alone: Callable[[], object], rule: Sampling, team: Team
) -> dict[str, list[float] | bool]:
    """Seconds of steps of all processes, and medians of each turn of theirs and of the first process alone.

    While it is alone the others wait. With one process nobody is compared, and no turn is taken alone.
    """
    samples, turns, ones = list[float](), list[float](), list[float]()
    spread, begun = clock.Spread(), time.perf_counter()
    goes_on, met = True, False
    with clock.no_collection():
        while goes_on:
            team.wait()
            if team.processes > 1 and team.rank == 0:
                ones.append(statistics.median(_turn(alone, team.device)))
            team.wait()
            taken = _turn(together, team.device)
            samples += taken
            turns.append(statistics.median(taken))
            for second in taken:
                spread.add(second)
            passed = time.perf_counter() - begun
            met = spread.meets(rule, passed)
            goes_on = team.agree(not met and passed < rule.max_seconds)
    return {"seconds": samples, "turns": turns, "alone": ones, "criterion_met": met}


def _turn(step: Callable[[], object], device: torch.device) -> list[float]:
    return [clock.seconds_of(step, device) for _ in range(CALLS)][1:]


if __name__ == "__main__":
    main(sys.argv[1])
