"""A learned reward in another environment: what a policy that is trained on it there is worth."""
