"""Training: steps, the loop, checkpoints, evaluation, and trained weights as files."""
