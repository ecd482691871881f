"""What a clock misses that is read before the device has finished: `python -m perf_inference.measure.selftest`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perf_inference.devices.device import Device, open_device
from perf_inference.errors import PerfInferenceError


@dataclass(frozen=True)
class SelfTest:
    """The same work, read three times."""

    device: str
    via: str
    unsynchronised_ns: int  # when the calls had returned
    synchronised_ns: int  # when the device had finished
    on_device_ns: int  # the device's own events around it

    @property
    def gap_ns(self) -> int:
        """What the first reading misses [ns]."""
        return self.synchronised_ns - self.unsynchronised_ns

    def __str__(self) -> str:
        if self.device == "cpu":
            return "cpu: nothing to wait for, a call returns when its work is done"
        return (
            f"{self.device} ({self.via}): the calls returned after {self.unsynchronised_ns / 1e6:.3f} ms, the device "
            f"had finished after {self.synchronised_ns / 1e6:.3f} ms (its own events: {self.on_device_ns / 1e6:.3f} "
            f"ms); a clock read without waiting misses {self.gap_ns / 1e6:.3f} ms"
        )


def self_test(device: Device, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> SelfTest:
    """Give the device some milliseconds of work and read the clock before and after waiting for it.

    Raises:
        EngineError: the device failed.
    """
    stream = device.stream(0)
    before, after = stream.event(), stream.event()
    with device.work() as work:
        work()  # the first time sets up what later times find
        device.synchronize()
        start_ns = monotonic_ns()
        before.record()
        work()
        after.record()
        returned_ns = monotonic_ns() - start_ns
        device.synchronize()
        finished_ns = monotonic_ns() - start_ns
    return SelfTest(device.name, device.via, returned_ns, finished_ns, after.since_ns(before))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the self-test of the device named on the command line (default: auto); 1 where there is none."""
    names = sys.argv[1:] if arguments is None else arguments
    try:
        print(self_test(open_device(names[0] if names else "auto")))
    except PerfInferenceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
