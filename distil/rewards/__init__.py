"""Models of the expert's reward. Pure torch; what trains them is in `distil.objectives`."""
