"""What happens inside a worker: one module an experiment, ``run(case, workspace) -> Measurement``. No torch here."""

from __future__ import annotations

EXPERIMENTS: dict[str, str] = {
    "training": "bench.experiments.training:run",
    "ladder": "bench.experiments.training:run",
    "training_step": "bench.experiments.training_step:run",
    "loading": "bench.experiments.loading:run",
    "pretraining": "bench.experiments.training:run",
    "transfer": "bench.experiments.comparisons:run_transfer",
    "ablation": "bench.experiments.comparisons:run_ablation",
    "speedrun": "bench.experiments.comparisons:run_speedrun",
    "inference": "bench.experiments.inference:run",
    "layers": "bench.experiments.layers:run",
    "load": "bench.experiments.language.checkpoint:run_load",
    "prefill": "bench.experiments.language.generation:run_prefill",
    "decode": "bench.experiments.language.decode:run",
    "perplexity": "bench.experiments.language.quality:run_perplexity",
    "ceilings": "bench.experiments.machine:run_ceilings",
    "noise": "bench.experiments.machine:run_noise",
    "chat": "bench.experiments.language.quality:run_chat",
}
"""Experiment -> ``module:function``, imported by the worker that runs it."""
