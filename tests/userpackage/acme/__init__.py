"""A user's own package: each module has one part that a recipe names with `kind: import`."""
