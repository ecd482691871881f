"""The other side of the benchmarks: processes to measure against, and what listens to them."""
