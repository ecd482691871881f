"""Benchmarks; each is a module that runs with `python -m` and prints its figures."""
