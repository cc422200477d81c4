"""Modules trained with RLlib, read without executing anything from their files and without Ray."""
