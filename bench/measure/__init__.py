"""Clock, memory, quality and machine facts. Knows tensors and devices; knows no model by name."""
