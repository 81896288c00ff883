"""What a score is worth: floors, baselines, statistics. Not here: the score (``scores``)."""
