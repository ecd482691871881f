"""Several nodes in one process: `container policy_node yolo_node=front --ros-args ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial

from perf_inference.bringup.executables import NODES
from perf_inference.errors import EX_CONFIG
from perf_inference.nodes.ros import runner
from perf_inference.printable import guard_this_process, printable

_CLASSES = {name: "".join(part.capitalize() for part in name.split("_")) for name in NODES}


def factory(argument: str) -> Callable[[], runner.RunnableNode]:
    """Return what makes the node of `EXECUTABLE` or `EXECUTABLE=NAME`.

    Raises:
        ValueError: no such executable.
    """
    executable, _, name = argument.partition("=")
    if executable not in _CLASSES:
        raise ValueError(f"a container takes {', '.join(NODES)}, got '{executable}'")
    module = importlib.import_module(f"perf_inference.nodes.{executable}")
    return partial(getattr(module, _CLASSES[executable]), name or executable)


def main() -> None:
    """Run the nodes named before `--ros-args`."""
    guard_this_process()
    arguments = sys.argv[1:]
    named = arguments[: arguments.index("--ros-args")] if "--ros-args" in arguments else arguments
    try:
        factories = [factory(argument) for argument in named]
    except ValueError as error:
        print(printable(error), file=sys.stderr)
        sys.exit(EX_CONFIG)
    runner.leave(runner.run(factories))


if __name__ == "__main__":
    main()
