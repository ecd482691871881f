"""perf-inference view: the running graph as one page in a browser of this machine."""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from perf_inference import missing
from perf_inference.bringup.stop_signal import StopFlag
from perf_inference.errors import ConfigError
from perf_inference.printable import printable

if TYPE_CHECKING:
    from perf_inference.commands.view.foxglove_server import FoxgloveServer
    from perf_inference.commands.view.server import Server, Shown
    from perf_inference.nodes.view.scene import Scene

NEEDS_ROS = True
_SHOW_S = 0.5  # as often as there are heartbeats
_ASKED_S = 5.0  # nobody looks any more after that
_SPIN_S = 0.02
_NAME = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")  # design.ros2.org, topic and service names
_FOXGLOVE_PORT = 8765  # which its app asks for
_EXAMPLE = "example: ROS_DOMAIN_ID=5 perf-inference view, and open the address that it prints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("--port", type=_port, default=0, help="on 127.0.0.1 (default: any that is free)")
    parser.add_argument("--namespace", type=_namespace, default="", help="of the nodes that are shown (default: /)")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        type=_topic,
        metavar="TOPIC",
        dest="images",
        help="an image topic, again and again (default: those named annotated, or else image)",
    )
    parser.add_argument(
        "--foxglove",
        type=_port,
        nargs="?",
        const=_FOXGLOVE_PORT,
        metavar="PORT",
        help=f"also a Foxglove websocket on 127.0.0.1, read-only (default: {_FOXGLOVE_PORT})",
    )
    parser.add_argument(
        "--rate", type=_rate, default=15.0, metavar="HZ", help="images of one topic a second, at most (default: 15)"
    )


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM (status 0)."""
    stop = StopFlag()
    _check("aiohttp", "view")
    if options.foxglove is not None:
        _check("foxglove", "view --foxglove")
    from perf_inference.commands.view.page import page
    from perf_inference.commands.view.server import Server, Shown, listening
    from perf_inference.nodes.view.scene import Scene

    try:
        bound = listening(options.port)
    except OSError as error:
        raise _taken("--port", options.port, error) from error
    shown = Shown()
    scene = Scene(options.namespace, options.images, _say, lambda: shown.wake())
    server = Server(bound, shown, page, options.rate)
    foxglove = None
    try:
        if options.foxglove is not None:
            foxglove = _foxglove(scene, options)
            _say(f"Foxglove: open {foxglove.address}; any program and any web page on this machine can read it")
        _say(f"open {server.address} (Ctrl-C ends it)")
        watch(scene, shown, server, lambda: stop.name, foxglove)
    finally:
        server.close()
        if foxglove is not None:
            foxglove.close()
        scene.close()
    _say(f"{stop.name}: stopped")
    return 0


def watch(
    scene: Scene, shown: Shown, server: Server, stop: Callable[[], object], foxglove: FoxgloveServer | None = None
) -> None:
    """Read the graph and make ready what is shown, until `stop` returns something."""
    from perf_inference.commands.view.page import panel

    shown_s = float("-inf")
    while not stop():
        scene.spin(_SPIN_S)
        if foxglove is not None:
            foxglove.tick()
        now_s = time.monotonic()
        if now_s - shown_s >= _SHOW_S and (now_s - server.asked_s < _ASKED_S or not shown.panel[0]):
            shown_s = now_s
            shown.put(panel(scene), scene.feeds)


def _foxglove(scene: Scene, options: argparse.Namespace) -> FoxgloveServer:
    from perf_inference.commands.view.foxglove_server import FoxgloveServer
    from perf_inference.commands.view.server import listening

    try:
        listening(options.foxglove).close()  # says better than the library what is wrong
        return FoxgloveServer(scene, options.foxglove, options.rate)
    except OSError as error:
        raise _taken("--foxglove", options.foxglove, error) from error


def _check(package: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        name = {"foxglove": "foxglove-sdk"}.get(package, package)
        raise ConfigError(f"{what} needs {name}, which is not installed: {missing.pip(name)}")


def _taken(flag: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"{flag} {port} on 127.0.0.1 cannot be had: {error.strerror}; choose another port, or end what listens there"
    )


def _say(line: str) -> None:
    print(f"perf-inference view: {printable(line)}", flush=True)


def _topic(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be a topic like /front/annotated, got '{text}'")
    return text


def _namespace(text: str) -> str:
    if text and not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be a namespace like /robot1, got '{text}'")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"must be a port from 0 (any that is free) to 65535, got '{text}'")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"must be a number of images a second, above 0 and up to 1000, got '{text}'")
    return value
