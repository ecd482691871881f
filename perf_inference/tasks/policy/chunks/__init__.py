"""Chunks of actions, played on a steady grid through the delays of inference."""
