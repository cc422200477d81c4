"""Policies trained with Stable-Baselines3, read without executing anything from their files and without that library."""
