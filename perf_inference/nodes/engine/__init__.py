"""What every node with an engine has: the engine, its pipeline, its inputs, and another model while it runs."""
