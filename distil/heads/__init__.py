"""Action distributions: one file each, chosen by their configuration's `kind`."""
