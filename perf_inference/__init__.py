"""Run learned policies, captioners and detectors on a robot's own computer, and say truthfully how fast they are."""

__version__ = "0.1.0"
