"""A route as files that run elsewhere."""
