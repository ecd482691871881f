"""What a vision model gives: told apart, cut by score, suppressed, and its masks."""
