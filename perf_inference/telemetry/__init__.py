"""The machine, read and never changed: host, NVIDIA GPUs, tegrastats; once a second, and over any window of a run."""
