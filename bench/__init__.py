"""How models are measured, and the cases."""
