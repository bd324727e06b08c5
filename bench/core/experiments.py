"""What happens inside a worker: one module an experiment, ``run(case, workspace) -> Measurement``. No torch here."""

from __future__ import annotations

EXPERIMENTS: dict[str, str] = {
    "training": "bench.experiments.training:run",
    "ladder": "bench.experiments.training:run",
    "training_step": "bench.experiments.training_step:run",
    "loading": "bench.experiments.loading:run",
    "pretraining": "bench.experiments.training:run",
    "transfer": "bench.experiments.transfer:run",
    "ablation": "bench.experiments.ablation:run",
    "speedrun": "bench.experiments.speedrun:run",
    "inference": "bench.experiments.inference:run",
    "layers": "bench.experiments.layers:run",
    "load": "bench.experiments.language.load:run",
    "prefill": "bench.experiments.language.prefill:run",
    "decode": "bench.experiments.language.decode:run",
    "perplexity": "bench.experiments.language.perplexity:run",
    "ceilings": "bench.experiments.ceilings:run",
    "noise": "bench.experiments.noise:run",
    "chat": "bench.experiments.language.chat:run",
}
"""Experiment -> ``module:function``, imported by the worker that runs it."""
