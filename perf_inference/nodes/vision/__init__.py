"""What the results of vision models look like as messages."""
