"""A policy's contract: what it observes, what it commands, and how its actions are played."""
