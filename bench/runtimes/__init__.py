"""Runtimes other than torch: one module for each and for each kind of model. The table is ``bench.core.runtimes``."""
