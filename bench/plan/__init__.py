"""From the command line to cases. No torch."""
