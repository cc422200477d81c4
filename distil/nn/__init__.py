"""Plain torch blocks that heads and policies are made of."""
