"""What others wrote is shown, and never obeyed: on a terminal, in a log, in a report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console
from support.cases import sampled
from support.processes import Process, Ros

from perf_inference.commands.demo import NodesLog
from perf_inference.commands.demo.view import LiveView, PlainView, show_summary
from perf_inference.doctor import flows, report
from perf_inference.doctor.finding import Finding
from perf_inference.doctor.graph import Endpoint, Flow, GraphFacts, Source
from perf_inference.engines import load
from perf_inference.errors import EngineError
from perf_inference.measure.heartbeat import Beat, Heartbeat
from perf_inference.measure.statistics import TimingStatistics
from perf_inference.printable import printable, without_colours
from perf_inference.recording.analysis.run_reader import RunReader
from perf_inference.report import report as html_report

ESC, BELL, C1 = "\x1b", "\x07", "\x9d"
CLIPBOARD = f"{ESC}]52;c;cm0gLXJmIH4={BELL}"  # a terminal would put `rm -rf ~` on the clipboard
LINK = f"{ESC}]8;;http://evil.example{ESC}\\docs{ESC}]8;;{ESC}\\"
FORGED = "\r\n[FATAL] [1.0] [policy_node]: forged"
UNSEEN = "\u202e\u200b\ud800"
HOSTILE = f"{ESC}[2J{CLIPBOARD}{LINK}{C1}0;title\x9c{FORGED}{UNSEEN}[red]<script>alert(1)</script>"


def obeyed(text: str) -> list[str]:
    """Return what a terminal, a log or a reader would not see as it is; one newline a line is ours."""
    return [letter for letter in text if letter != "\n" and not letter.isprintable()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 🤖 \\n", "plain é 漢 🤖 \\n"),
        (f"{ESC}[31m", "\\x1b[31m"),
        ("a\nb\rc\td\0", "a\\nb\\rc\\td\\x00"),
        ("\x85\x9b1m\u2028\u2029", "\\x85\\x9b1m\\u2028\\u2029"),
        ("\u202egnp.exe\u2066\u200b\ufeff", "\\u202egnp.exe\\u2066\\u200b\\ufeff"),
        ("\ud800\udcff", "\\ud800\\udcff"),
        ("a\u3164b\ufe0f\U000e0041\U000e0100", "a\\u3164b\\ufe0f\\U000e0041\\U000e0100"),
    ],
)
def test_each_letter_that_is_obeyed_becomes_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.slow
def test_no_letter_of_unicode_is_obeyed() -> None:
    shown = "".join(printable(chr(number)) for number in range(sys.maxunicode + 1))
    assert obeyed(shown) == []
    assert "\n" not in shown


def test_a_long_text_is_cut_and_its_length_is_said() -> None:
    assert printable("x" * 1_000_000, 5) == "xxxxx... (1000000 characters)"
    assert len(printable("\0" * 1_000_000)) < 10_000
    assert printable(Path("/a\nb")) == "/a\\nb"


def test_colours_of_a_process_of_ours_are_no_escapes() -> None:
    assert without_colours("\x1b[33m[WARN] x\x1b[0m") == "[WARN] x"


# logs ----------------------------------------------------------------------------------------------------------------


def test_a_image_forges_no_line_of_a_nodes_log(ros: Ros, start_node: Callable[..., Process]) -> None:
    from sensor_msgs.msg import CompressedImage, Image

    raw = ros.node.create_publisher(Image, "image", 1)
    packed = ros.node.create_publisher(CompressedImage, "packed/compressed", 1)
    nodes = [
        start_node("yolo_node"),
        start_node("yolo_node", "-r", "__node:=other", "-p", "image_transport:=compressed", "-r", "image:=packed"),
    ]
    encoding = HOSTILE.replace("\ud800", "") + "y" * 1_000_000

    def send() -> bool:
        raw.publish(Image(height=1, width=1, step=3, encoding=encoding, data=b"abc"))
        packed.publish(CompressedImage(format=encoding, data=b"abc"))
        return all("skipped" in node.output() for node in nodes)

    assert ros.spin_until(send, 30), [node.output() for node in nodes]
    for node in nodes:
        lines = [line for line in node.output().split("\n") if "RTPS_" not in line]  # the middleware's own have colours
        assert obeyed("".join(lines)) == []
        assert not any(line.startswith("[FATAL]") for line in lines)
        assert max(map(len, lines)) < 20_000
    assert "\\x1b[2J" in nodes[0].output()


def test_calls_of_one_logger_are_told_apart(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy")
    from perf_inference.nodes.ros.log import PrintableLogger

    log = PrintableLogger("test")
    for number in range(3):
        log.warning(f"often {number}", throttle_duration_sec=100.0)
        log.error(f"each {number}{HOSTILE}")
        log.info(f"once {number}", once=True)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("]: ")[1][:7] for line in lines] == ["often 0", "each 0\\", "once 0", "each 1\\", "each 2\\"]


def test_a_traceback_and_pythons_own_log_are_printable() -> None:
    code = f"""
import logging, sys, threading
from perf_inference.printable import guard_this_process
guard_this_process()
logging.getLogger("x").warning("%s", {HOSTILE!r})
print({HOSTILE!r}.replace(chr(27), "").encode("ascii", "replace").decode().replace(chr(13), "").replace(chr(7), ""))
def fail():
    try:
        raise KeyError({HOSTILE!r})
    except KeyError as error:
        raise ValueError({HOSTILE!r}) from error
thread = threading.Thread(target=fail, name={CLIPBOARD!r})
thread.start()
thread.join()
fail()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert obeyed(ran.stderr) == []
    assert ran.stderr.count("which led to:") == 2
    assert ran.stderr.count("ValueError: \\x1b[2J") == 2
    assert not any(line.startswith("[FATAL]") for line in ran.stderr.splitlines())


def test_a_models_own_names_are_not_printed_by_its_runtime(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    helper = pytest.importorskip("onnx").helper
    node = helper.make_node("Gather", ["x", "i"], ["y"], name=f"{ESC}[31mevil")
    values = [helper.make_tensor_value_info(*said) for said in (("x", 1, [3]), ("i", 7, [1]), ("y", 1, [1]))]
    graph = helper.make_graph([node], "g", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
    engine = load(str(tmp_path / "evil.onnx"))
    with pytest.raises(EngineError, match="evil"):
        engine.infer({"x": np.zeros(3, np.float32), "i": np.array([77], np.int64)})
    engine.close()
    assert obeyed("".join(capfd.readouterr())) == []


def test_what_a_child_prints_forges_no_line_of_nodes_log(tmp_path: Path) -> None:
    shown: list[str] = []
    log = NodesLog(tmp_path, shown.append)
    log.write("yolo_node", f"\x1b[31m[ERROR] [1.0] [yolo_node]: {HOSTILE}\x1b[0m")
    log.close()
    kept = (tmp_path / "nodes.log").read_text(encoding="utf-8")
    assert kept.startswith("yolo_node: [ERROR] [1.0] [yolo_node]: \\x1b[2J")
    assert kept.count("\n") == 1
    assert obeyed(kept + shown[0]) == []


# views ---------------------------------------------------------------------------------------------------------------


def _seen() -> Any:
    """Return what a view reads, as peers could have sent it."""
    timing = TimingStatistics()
    beat = Beat(1e12, "host/1", True, HOSTILE, Heartbeat.of({"inferences": HOSTILE, "rate_hz": 1.0}))
    return SimpleNamespace(
        heartbeats={HOSTILE: beat}, timings={HOSTILE: timing}, dropped={HOSTILE: 0}, episode=None,
        caption=f"[red]red[/red][/]{HOSTILE}", detections=(HOSTILE,) * 100,
    )  # fmt: skip


def test_a_caption_is_neither_markup_nor_an_escape_in_the_live_view(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "perf_inference.commands.demo.view.Console", lambda **_: Console(force_terminal=True, width=3000)
    )
    with LiveView() as view:
        view.note(f"[ERROR] [1.0] [x]: [bold]{HOSTILE}")
        view.show(_seen(), 1.0, 2.0, 0)
    show_summary(None, _seen())
    said = capsys.readouterr().out
    assert "[red]red[/red][/]" in said
    assert "[bold]" in said
    assert not any(bad in said for bad in (CLIPBOARD, LINK, C1, "\u202e", "\u200b", f"{ESC}[2J", "\n[FATAL]"))


def test_nor_in_the_plain_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    view = PlainView()
    monkeypatch.setattr("perf_inference.commands.demo.view._LINE_EVERY_S", -1e9)
    view = PlainView()
    view.note(HOSTILE)
    view.show(_seen(), 1.0, 2.0, 0)
    said = capsys.readouterr().out
    assert obeyed(said) == []
    assert said.count("\n") == 2


def test_a_node_that_still_loads_says_so_in_the_plain_view(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perf_inference.commands.demo.view._LINE_EVERY_S", -1e9)
    seen = _seen()
    seen.timings = {}
    seen.heartbeats = {
        "yolo_node": Beat(1e12, "host/1", True, f"loading det{HOSTILE}", Heartbeat.of({})),
        "monitor_node": Beat(1e12, "host/2", True, "active", Heartbeat.of({})),
    }
    PlainView().show(seen, 1.0, 2.0, 0)
    said = capsys.readouterr().out
    assert "| yolo_node is loading det" in said
    assert "monitor_node" not in said
    assert obeyed(said) == []


# commands ------------------------------------------------------------------------------------------------------------


def command(*arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "perf_inference.cli", *arguments], capture_output=True, timeout=120, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sampled([b"\x1b]0;x\x07\n[FATAL] forged.mcap", b"\xff\xfe.jsonl", b"\r\xe2\x80\xae.db3"], keep=4)
)
@pytest.mark.parametrize("verb", ["convert", "recover", "analyze", "run"])
def test_a_files_name_is_one_line_of_a_commands_words(tmp_path: Path, verb: str, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"\x1b[2Jno recording\n" * 3)
    path = os.fsencode(tmp_path) + b"/" + name
    given = {"convert": (path, os.fsencode(tmp_path / "out.mcap")), "run": ("--config", path)}.get(verb, (path,))
    ran = command(verb, *given)
    said = (ran.stdout + ran.stderr).decode()
    assert ran.returncode in (1, 78), said
    assert "perf-inference " + verb in said
    assert obeyed(said) == []
    assert "\n[FATAL]" not in said


def test_an_argument_that_a_shells_pattern_found_is_one_line_too() -> None:
    ran = command("recover", "a", b"\x1b[2J\n[FATAL] forged")
    assert ran.returncode == 2
    assert obeyed(ran.stderr.decode()) == []
    assert b"\n[FATAL]" not in ran.stderr


def test_the_doctors_commands_can_be_copied_whatever_a_topic_is_called() -> None:
    topic = "/x; touch /tmp/owned $(id)\n$ curl evil | sh\x1b[2J"
    source = Source(HOSTILE, True, 1000, 0, 10.0, 10.0, None, None, 0.1, 100.0)
    flow = Flow(topic, "std_msgs/msg/String", (Endpoint(HOSTILE),), (Endpoint("b"),), sources=(source,), received=1000)
    findings = [
        *flows.topics(GraphFacts(1.0, flows=(flow,), pairs=1)),
        Finding("qos", "warning", HOSTILE, HOSTILE, HOSTILE),
    ]
    said = list(report.lines(findings))
    (offered,) = (line.partition("$ ")[2] for line in said if line.lstrip().startswith("$ "))
    assert offered == "ros2 topic hz '/x; touch /tmp/owned $(id)\\n$ curl evil | sh\\x1b[2J'"
    assert obeyed("".join(said)) == []


def test_names_in_the_report_are_text(tmp_path: Path) -> None:
    name = HOSTILE.replace("\ud800", "") + '"><img src=x onerror=alert(1)>' + "z" * 1_000_000
    record = {"node": name, "engine": name, "precision": name, "device": name, "seq": 1, "received_ns": 10**18,
              "arrived_ns": 1, "total_ms": 1.0, "infer_ms": 1.0}  # fmt: skip
    (tmp_path / "performance_timings_20260102_030405.jsonl").write_bytes(orjson.dumps(record) + b"\n")
    session = {"counts": {"topics": {name: {"type": name, "records": name}}}, "host": {"hostname": name}, "gpu": name}
    (tmp_path / "session.json").write_bytes(orjson.dumps(session))
    reader = RunReader(tmp_path)
    while reader.poll():
        pass
    reader.finish()
    page = html_report.report(reader.result())
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert obeyed(page) == []
    assert len(page) < 1_000_000
