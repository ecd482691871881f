"""ROS 2: wiring, parameters, conversion. The only place that imports rclpy or a message package."""

import contextlib
import gc
import os
import sys
from types import TracebackType

from perf_inference import missing
from perf_inference.bringup import child_process
from perf_inference.bringup.stop_signal import interrupt_safely
from perf_inference.bringup.tuning import is_node, tune_this_process
from perf_inference.errors import EX_CONFIG
from perf_inference.nodes.light_messages import load_without_generator
from perf_inference.printable import printable


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say what a node cannot be imported without; a restart would not bring it."""
    said = missing.sentence(error) if isinstance(error, ModuleNotFoundError) else ""
    if not said:
        sys.__excepthook__(kind, error, trace)
        return
    print(printable(said), file=sys.stderr, flush=True)
    os._exit(EX_CONFIG)


load_without_generator()
TUNING_LINE = tune_this_process()  # a node started bare gets what the starters give; it must come before rclpy
HOLDS_COLLECTION = is_node(sys.orig_argv) and gc.isenabled()
if HOLDS_COLLECTION:
    gc.disable()  # it would walk again and again through what the imports make; `runner` has it on again
if is_node(sys.orig_argv):
    interrupt_safely()  # until `runner` has its own
    sys.excepthook = _end  # until `runner` has its own: an import of the node's that fails
    # Before the seconds that the imports of a node can take; what stands against it says `runner`.
    with contextlib.suppress(child_process.StarterError):
        if ended := child_process.follow().ended():
            raise SystemExit(child_process.orphaned(ended))
