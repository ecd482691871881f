"""One module per command of `perf-inference`; `cli` parses, these do."""
