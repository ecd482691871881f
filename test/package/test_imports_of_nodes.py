"""What a node does not use it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.processes import inherited

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

_HEAVY = ("torch", "transformers", "scipy", "soundfile", "PIL", "perf_inference.engines.chat.engine",
          "perf_inference.engines.huggingface.engine", "perf_inference.tasks.audio.task")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("node", ["yolo_node", "policy_node", "caption_node"])
def test_no_node_imports_libraries_of_others(node: str) -> None:
    code = f"import sys, perf_inference.nodes.{node}; print([name for name in {_HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], env=inherited(), capture_output=True, text=True, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"


_SELDOM = ("importlib.metadata", "lark", "rosidl_parser.parser", "zipfile")
_MORE = {"sim_robot_node": ("psutil", "tempfile"), "camera_node": ("psutil", "tempfile"),
         "monitor_node": ("cv2", "tempfile"), "recorder_node": ("cv2", "tempfile"),
         "policy_node": ("psutil", "perf_inference.nodes.policy.contract.driver")}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("node", [*_MORE, "yolo_node"])
def test_a_node_does_not_load_at_its_start_what_is_seldom_needed(node: str) -> None:
    """Each takes 4 to 35 ms of the processor, in every process of a graph."""
    seldom = (*_SELDOM, *_MORE.get(node, ()))
    code = (
        f"import sys, perf_inference.nodes.{node}; from rcl_interfaces.msg import Log; "
        f"type(Log).__import_type_support__(); print([name for name in {seldom!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], env=inherited(), capture_output=True, text=True, check=True)
    assert found.stdout.strip().splitlines()[-1] == "[]"


def test_who_wants_the_generator_of_messages_has_all_of_it() -> None:
    code = (
        "import sys, perf_inference.nodes, rosidl_generator_py as package; from std_msgs.msg import String; "
        "type(String).__import_type_support__(); assert type(String)._TYPE_SUPPORT is not None; "
        "assert 'lark' not in sys.modules; assert not hasattr(package, 'no_such_name'); "
        "print(callable(package.generate_py), package.generate_py.__module__, package.__spec__.name)"
    )
    found = subprocess.run([sys.executable, "-c", code], env=inherited(), capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "rosidl_generator_py.generate_py_impl", "rosidl_generator_py"]


def test_garbage_is_collected_again_once_a_node_has_started(domain: int) -> None:
    code = (
        "import sys; sys.orig_argv = ['python', '-m', 'perf_inference.nodes.monitor_node']; "
        "from perf_inference.nodes import monitor_node; import gc; from perf_inference.nodes.ros import runner\n"
        "print(gc.isenabled(), gc.get_freeze_count())\n"
        "started = runner._has_started\n"
        "def told(nodes, lines):\n"
        "    if started(nodes, lines):\n"
        "        print(gc.isenabled(), gc.get_freeze_count() > 10_000, flush=True)\n"
        "        runner.leave(0)\n"
        "    return False\n"
        "runner._has_started = told\n"
        "monitor_node.main()\n"
    )
    environment = {**inherited(), "ROS_DOMAIN_ID": str(domain)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["False", "0", "True", "True"], found.stderr
