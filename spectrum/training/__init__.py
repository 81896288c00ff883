"""Fitting: the loop, its workers and checkpoints. Not here: which point is fitted (search)."""
