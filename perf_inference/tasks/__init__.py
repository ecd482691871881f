"""What a model means: pre- and post-processing as pure functions."""
