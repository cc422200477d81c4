"""The sweeps that ship with distil."""
