"""What runs inside a worker: one module an experiment, ``run(case, workspace) -> Measurement``."""
