"""A command in this process: quick, and without what it leaves behind."""

from __future__ import annotations

import signal

from perf_inference.cli import main


def run_command(*arguments: object) -> int:
    """Run `perf-inference ARGUMENTS`; return its exit status, with the handlers of signals as they were before."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return main([str(argument) for argument in arguments])
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
