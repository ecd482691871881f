"""A signal that comes where what is raised crashes (an extension is imported) or goes nowhere (a weak reference)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import ROOT

# Imports orjson in a child for each `at`, with the signal at that call of what the making of its module runs.
_IMPORTS = """
import os, signal, sys, time, traceback
from importlib.machinery import ExtensionFileLoader

kind, *places = sys.argv[1:]
INITS = {ExtensionFileLoader.create_module.__code__, ExtensionFileLoader.exec_module.__code__}
if kind == "node":
    from perf_inference.nodes.ros.stop_signals import Stop, Stopped as Ended
elif kind == "command":
    from perf_inference.bringup.stop_signal import interrupt_safely
    Ended = KeyboardInterrupt
else:
    from perf_inference.bringup.stop_signal import StopFlag, Stopped as Ended
assert "orjson" not in sys.modules

def in_the_making(frame):
    while frame is not None and frame.f_code not in INITS:
        frame = frame.f_back
    return frame is not None

def child(at):
    if kind == "node":
        stop = Stop()
    elif kind == "command":
        interrupt_safely()
    else:
        stop = StopFlag()
        stop.at_once = True
    left = at
    def profile(frame, event, argument):
        nonlocal left
        if event == "call" and in_the_making(frame.f_back):
            left -= 1
            if not left:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)
    sys.setprofile(profile)
    try:
        import orjson
        sys.setprofile(None)
        time.sleep(0 if left > 0 else 5)
    except Ended as error:  # it may come before `import` has returned, but not out of the making
        passed = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
        os._exit(3 if INITS.intersection(passed) else 0)
    os._exit(2 if left > 0 else 4)

for at in map(int, places):
    if not (pid := os.fork()):
        child(at)
    _, status = os.waitpid(pid, 0)
    print(at, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["start", "command", "node"])
def test_a_signal_in_the_making_of_an_extension_ends_what_is_done_after_it(kind: str) -> None:
    if kind == "node":
        pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    places = [str(at) for at in (1, 2, 10, 50, 100, 200)]
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, kind, *places], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for at in places for word in (at, "0")], done.stderr


# The signal comes in the callback of a weak reference, and in `__del__`.
_NOWHERE = """
import signal, sys, time, weakref

kind, where = sys.argv[1:]
if kind == "command":
    from perf_inference.bringup.stop_signal import interrupt_safely
    Ended = KeyboardInterrupt
    interrupt_safely()
elif kind == "node":
    from perf_inference.nodes.ros.stop_signals import Stop, Stopped as Ended
    stop = Stop()
else:
    from perf_inference.bringup.stop_signal import StopFlag, Stopped as Ended
    stop = StopFlag()
    stop.at_once = True

def profile(frame, event, argument):
    if event == "call" and frame.f_code.co_name in ("cb", "remove", "_remove", "__del__"):
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)

class Thing:
    pass

class Leaving:
    def __del__(self):
        len("x")

sys.setprofile(profile)
try:
    if where == "import":
        try:
            import this_is_not_there
        except ImportError:
            pass
    elif where == "__del__":
        Leaving()
    else:
        kept = weakref.WeakSet() if where == "set" else weakref.WeakValueDictionary()
        thing = Thing()
        kept.add(thing) if where == "set" else kept.__setitem__(1, thing)
        del thing
    time.sleep(5)
except Ended:
    print("ended")
"""


@pytest.mark.parametrize("kind", ["start", "command", "node"])
@pytest.mark.parametrize("where", ["import", "set", "values", "__del__"])
def test_a_signal_where_what_is_raised_goes_nowhere_is_not_lost(kind: str, where: str) -> None:
    if kind == "node":
        pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    done = subprocess.run(
        [sys.executable, "-c", _NOWHERE, kind, where], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr
    assert "Exception ignored" not in done.stderr
