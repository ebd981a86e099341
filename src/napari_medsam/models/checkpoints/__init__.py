"""Checkpoints: data from strangers, read without running them, told apart by their keys, and fitted to networks."""
