"""Jobs on a Ray cluster: what travels with a command, where its files live there, and a job from its start to its end."""
