"""Sweeps: many runs of several families, a ranking of the best, confirmed with fresh seeds on the held-out episodes."""
