"""Adapt a model to labels of one's own: examples from labelled slices, people simulated, and the two ways to train."""
