"""Run by `python -m perf_inference.bench.share`."""

import sys

from perf_inference.bench.share import main

if __name__ == "__main__":
    sys.exit(main())
