"""What a model is worth: losses on held-out text."""
