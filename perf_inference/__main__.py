"""`python -m perf_inference ...` is the command `perf-inference ...`."""

from perf_inference.cli import entry

if __name__ == "__main__":
    entry()
