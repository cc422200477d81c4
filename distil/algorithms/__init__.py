"""Algorithms decide what happens next, as data; they start no actor and open no file. One file an algorithm."""
