"""Training: recipes, the loop, checkpoints, and the weights that come out of it."""
