"""Running of cases: session, engine, worker, journal, result. Only the worker reaches experiments."""
