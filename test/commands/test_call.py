"""`call` and `set` on real nodes, in this process: no ROS tools are needed, and each way to fail has its sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from std_srvs.srv import SetBool, Trigger
from support.command_line import run_command
from support.processes import Process, Ros, wait_until


class _Spun:
    """A test node whose services answer while a command of this process runs."""

    def __init__(self, ros: Ros) -> None:
        import threading

        self.node, self.asked = ros.node, []
        self._ros, self._ended = ros, False
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def trigger(self, name: str, success: bool, message: str) -> None:
        def answer(request: Any, response: Any) -> Any:
            self.asked.append((name, getattr(request, "data", None)))
            response.success, response.message = success, message
            return response

        kind = SetBool if name.endswith("enable") else Trigger
        self.node.create_service(kind, name, answer)

    def __enter__(self) -> _Spun:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()

    def _spin(self) -> None:
        self._ros.spin_until(lambda: self._ended, 600)


def told(capsys: pytest.CaptureFixture[str], text: str, *words: str) -> None:
    """Run a command until it has failed with this text: others are not heard at once."""
    assert wait_until(lambda: run_command(*words) == 1 and text in capsys.readouterr().err), text


def test_a_call_prints_what_the_service_says(ros: Ros, capsys: pytest.CaptureFixture[str]) -> None:
    graph = _Spun(ros)
    graph.trigger("/caption_node/caption", True, "a red\x1b circle")
    graph.trigger("/a/recorder_node/pause", True, "paused")
    graph.trigger("/b/recorder_node/pause", False, "it hangs")
    graph.trigger("/one/policy_node/enable", True, "done")
    graph.trigger("/two/policy_node/enable", False, "not enabled: estop")
    with graph:
        assert wait_until(lambda: run_command("call", "caption") == 0)
        assert capsys.readouterr().out == "a red\\x1b circle\n"
        told(capsys, "several nodes offer ~/pause: a/recorder_node, b/recorder_node", "call", "pause")
        assert wait_until(lambda: run_command("call", "pause", "--node", "a/recorder_node") == 0)
        assert wait_until(
            lambda: run_command("call", "pause", "--namespace", "b") and "hangs" in capsys.readouterr().out
        )
        assert wait_until(lambda: run_command("call", "enable", "--namespace", "one") == 0)
        capsys.readouterr()
        both = "one/policy_node: done\ntwo/policy_node: not enabled: estop\n"  # every policy, and one of them does not
        assert wait_until(lambda: run_command("call", "disable") == 1 and both == capsys.readouterr().out)
        assert set(graph.asked[-2:]) == {("/one/policy_node/enable", False), ("/two/policy_node/enable", False)}
        for words in (("say",), ("say", "hello", "there")):
            told(capsys, "no speech_node runs", "call", *words, "--timeout", "1")
        told(capsys, "no node offers ~/split", "call", "split", "--timeout", "1")
        assert run_command("call", "caption", "please") == 1
        assert "takes no text" in capsys.readouterr().err


def test_nobody_there_and_nobody_who_answers(domain: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("call", "caption", "--timeout", "0.5") == 1
    assert f"no node was found within 0.5 s on ROS domain {domain}" in capsys.readouterr().err
    assert run_command("set", "yolo_node", "model", "detector", "--timeout", "0.5") == 1
    assert "no node was found" in capsys.readouterr().err
    for words in (("nodes",), ("stats",), ("console", "--once"), ("console", "--json")):
        assert run_command(*words, "--seconds", "0.3") == 1
        assert f"no node was found within 0.3 s on ROS domain {domain}" in capsys.readouterr().err
    helper = Ros()
    try:
        helper.node.create_service(Trigger, "/caption_node/caption", lambda request, response: response)  # not spun
        told(capsys, "caption_node has not answered within 1.5 s", "call", "caption", "--timeout", "1.5")
    finally:
        helper.close()


@pytest.mark.thorough
def test_set_waits_for_the_swap_and_says_what_is_in_force(
    start_node: Callable[..., Process], capsys: pytest.CaptureFixture[str]
) -> None:
    node = start_node("caption_node", "-p", "threads:=1")
    node.wait_for("describes")
    said = capsys.readouterr
    assert wait_until(lambda: run_command("set", "caption_node", "model", "pruned") == 0)
    assert said().out.startswith("caption_node: model is pruned; running pruned (onnx fp32 on cpu)")
    assert run_command("set", "/caption_node", "prompt", "what", "is", "it?") == 1  # the embedded one takes no prompt
    assert "caption_node refuses prompt" in said().err
    assert run_command("set", "caption_node", "model", "/etc/passwd") == 1
    assert "allowed_models" in said().err
    assert run_command("set", "caption_node", "precison", "int8") == 1
    assert "did you mean 'precision'?" in said().err
    assert run_command("set", "caption_node", "image_transport", "compressed") == 1
    assert "is for the start alone" in said().err
    assert run_command("nodes", "--seconds", "30") == 0
    assert any(line.startswith("caption_node") and "pruned fp32" in line for line in said().out.splitlines())
    assert run_command("nodes", "--json", "--seconds", "30") == 0
    (row,) = json.loads(said().out)
    assert (row["name"], row["engine"], row["cause"]["kind"]) == ("caption_node", "pruned", "no_source")
    told(capsys, "no inference of theirs", "stats", "--seconds", "1.5")
    assert run_command("console", "--once", "--seconds", "30") == 0
    assert "/image gives nothing, since caption_node has started" in said().out
    near = "no node is called 'captain_node'; did you mean 'caption_node'?"
    told(capsys, near, "set", "captain_node", "rate", "3", "--timeout", "2")
