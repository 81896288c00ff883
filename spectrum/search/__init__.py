"""A study: the space, the trials and their folder. Not here: one fold (``training``)."""
