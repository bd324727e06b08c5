"""The suite: cases, and everything that plans, runs, measures and reports them."""
