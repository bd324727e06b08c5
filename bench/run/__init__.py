"""Who runs a case and where. Only the worker reaches experiments."""
