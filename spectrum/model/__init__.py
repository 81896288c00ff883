"""The slice ViT and what can be read from it. Not here: data, losses and fitting."""
