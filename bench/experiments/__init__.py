"""Experiments inside a worker: functions of a case and a workspace that return a Measurement."""
