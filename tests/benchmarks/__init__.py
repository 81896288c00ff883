"""Benchmarks, run by hand: each prints one JSON object a comparison, both sides in one run."""
