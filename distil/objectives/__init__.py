"""What a learner steps: losses, their optimisers and averaged weights, in pure torch."""
