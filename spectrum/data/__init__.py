"""From BIDS trees to the sequences that a model reads. Not here: models and fitting."""
