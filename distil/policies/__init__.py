"""Policies: normaliser, encoder and head; checkpoints; fast inference for rollouts (most of it without torch)."""
