"""Between the graph and a recording, both ways."""
