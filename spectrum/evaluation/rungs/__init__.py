"""The rungs of the ladder of baselines, from a guess to a small network, one kind a file."""
