"""What the three runtimes of PyTorch share, and its files."""
