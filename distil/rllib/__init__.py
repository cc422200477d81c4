"""Experts trained by RLlib on a Ray cluster: `algorithm.backend=rllib` of a recipe with `algorithm.kind=rl`."""
