"""Banner, time line, screen and tables of a robot that a story tells of; and timings read where they lie."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from support.graph_story import Story

from perf_inference.console import models
from perf_inference.console.figures import nodes_lines, statistics_lines, statistics_of
from perf_inference.console.graph import Offered
from perf_inference.console.screen import bar, first_screen, number, plain, spark
from perf_inference.errors import InputError

STALE = "safe action: nothing on /camera/image_raw for 0.6 s"


def _say(story: Story, message: str) -> None:
    for node in (story.policy, story.gate):
        node.message, node.ok = message, message == "driving"


def test_the_banner_is_the_gates_word_and_says_what_it_does_not_know() -> None:
    story = Story()
    assert story.play(2).banner.state == "DRIVING"
    story.policy.message = "an inference took 162.0 ms"  # in place of its state; the gate goes on telling
    assert story.play(2).banner.state == "DRIVING"
    story.gate.message = STALE
    banner = story.play(2).banner
    assert (banner.state, banner.cause) == ("SAFE", STALE.removeprefix("safe action: "))
    story.gate.silent = True
    story.policy.others["state"] = "disabled: safe action"  # what it warns of does not hide it
    assert (story.play(3).banner.state, story.look().banner.cause) == ("SAFE", "disabled")
    del story.policy.others["state"]
    banner = story.play(1).banner  # a node of an older version: its message hides whether it drives
    assert banner.state == "UNKNOWN"
    assert "an inference took" in banner.cause
    story.policy.silent = True
    assert "is silent for" in story.play(4).banner.cause


def test_of_two_policies_the_one_that_drives_is_told() -> None:
    story = Story()
    story.plain.remove(story.gate)
    other = replace(story.policy, name="left/policy_node", message="disabled: safe action")
    story.engines.append(other)
    picture = story.play(2)
    assert (picture.banner.state, picture.banner.node) == ("DRIVING", "policy_node")


def test_a_stop_is_an_event_with_its_time_its_safe_actions_and_its_cause() -> None:
    # t [s]  0     5      7      12
    #        drive SAFE   drive
    story = Story()
    bell = story.play(5).bell
    _say(story, STALE)
    story.gate.growing["gate.sends"] = 20.0  # the safe action every 50 ms
    story.play(2)
    _say(story, "driving")
    picture = story.play(5)
    texts = [event.text for event in picture.events]
    assert "policy_node SAFE 2.0 s, 40 safe actions: nothing on /camera/image_raw for 0.6 s" in texts
    assert "policy_node DRIVING" in texts
    assert picture.bell - bell >= 2


def test_what_happens_again_is_counted_and_its_times_are_added() -> None:
    story = Story()
    story.play(5)
    for _ in range(3):
        story.caption.message, story.caption.ok = "the moon is full", False
        story.play(3)
        story.caption.message, story.caption.ok = None, True
        story.play(4)
    (line,) = [event.line for event in story.look().events if "caption_node: a warning" in event.text]
    assert line == "caption_node: a warning 7.5 s (3 times)"


def test_a_name_that_a_terminal_would_obey_is_shown_as_letters() -> None:
    story = Story()
    story.caption.name, story.policy.message = "cap\x1b[2Jtion", "safe action: \x1b]0;x\x07"
    story.gate.message = story.policy.message
    story.watch.caption("a \x1b[31mred circle")
    picture = story.play(4)
    text = plain(first_screen(picture, 100, 40))
    assert text.replace("\n", "").isprintable()
    assert "\\x1b" in text


def test_a_bar_has_its_width_and_a_share_for_each_stage() -> None:
    text = "".join(span.text for span in bar({"transport": 4.0, "infer": 8.0, "queue": 0.01, "publish": 4.0}, 16))
    assert text == "TTTTIIIIIIIIuuuu"
    assert "".join(span.text for span in bar({}, 16)) == "-".ljust(16)
    assert spark([1.0, 2.0, 4.0], 5) == "  ▂▄█"
    assert spark([], 3) == "-  "


def test_statistics_say_how_many_they_rest_on() -> None:
    story = Story()
    story.play(30)
    node = story.watch.nodes["caption_node"]
    said = statistics_of(node)
    assert said["count"] == said["total_ms"]["n"] == 60
    assert said["total_ms"]["p50"] == pytest.approx(31.3)
    assert said["total_ms"]["p90"] is None  # needs 64
    assert said["total_ms"]["deviation"] == pytest.approx(0.0, abs=1e-6)
    assert said["last_total_ms"]["n"] == 30
    assert said["throughput_hz"] == pytest.approx(2.0, rel=0.05)
    lines = statistics_lines([node])
    assert max(map(len, lines)) <= 74
    assert any("60 inferences, 2.00 a second, CPU 150 MB, GPU - MB" in line for line in lines)


def test_the_table_of_nodes_fits_into_80_columns_and_cuts_nothing() -> None:
    story = Story()
    story.caption.message, story.caption.ok = (
        "failed: 'chat+http://10.0.0.7:8000/org/model' cannot be reached: refused",
        False,
    )
    rows = story.play(15).rows
    name = "robot_of_the_first_cell/front/caption_node"
    long = replace(
        next(row for row in rows if row.name == "caption_node"), name=name, engine="org/a-long-name-of-a-model"
    )
    lines = nodes_lines([*rows, long])
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for row in (*rows, long):
        assert row.name in text
        assert (row.engine or "-") in text
        assert (row.state if row.level == "ok" else row.cause.text) in text
    at = next(i for i, line in enumerate(lines) if name in line)
    assert lines[at + 1].split()[:3] == [f"{number(long.rate_hz)}/2" if long.expected_hz else number(long.rate_hz),
                                         number(long.p50_ms), str(long.n)]  # fmt: skip


def test_the_table_of_models_has_what_was_measured_and_names_the_best() -> None:
    story = Story()
    story.play(15)
    story.caption.engine, story.caption.precision, story.caption.stages_ms["infer"] = "pruned", "int8", 8.0
    picture = story.play(15)
    node = story.watch.nodes["caption_node"]
    row = picture.row("caption_node")
    assert row is not None
    assert (row.model, row.precision, row.p50_ms) == ("Pruned", "int8", pytest.approx(13.3))
    offered = Offered("pruned", ("/models", "/models/a.onnx"), "int8", "auto", "auto")
    choices = models.models(node, "captioner", offered)
    assert [choice.runs for choice in choices[:2]] == [False, True]
    assert "name a file of it: perf-inference set caption_node model FILE" in choices[2].reason
    assert (choices[3].value, choices[3].reason) == ("/models/a.onnx", "")
    lines = models.table(node, choices)
    assert "runs now" in next(line for line in lines if line.startswith("Pruned INT8"))
    assert "try: M 1 2" in next(line for line in lines if line.startswith("Original FP16"))
    assert lines[-1] == "best of 2 measured: pruned INT8, 8.00 ms (n 20); no model says its score"
    assert max(map(len, lines)) <= 74


def test_timings_are_read_as_rclpy_reads_them_and_what_is_none_is_refused() -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.serialization import deserialize_message, serialize_message

    from perf_inference.nodes.console.timing_reader import timings_of
    from perf_inference.nodes.reports.messages import timing_record, timing_status

    record = {"node": "yolo_node", "engine": "1.0", "seq": 3, "received_ns": 1 << 60, "infer_ms": 1.25, "warmup": True,
              "latency_ms": None, "precision": "ä\n", "total_ms": 1e-06}  # fmt: skip
    message = DiagnosticArray(status=[timing_status({**record, "seq": seq}, "host/1") for seq in range(5)])
    data = serialize_message(message)
    read = [timing_record(status) for status in deserialize_message(data, DiagnosticArray).status]
    assert list(timings_of(data)) == read
    for length in range(4, len(data)):
        with pytest.raises(InputError):
            list(timings_of(data[:length]))
    chance = random.Random(0)
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(2, len(broken))] = chance.randrange(256)
        try:
            list(timings_of(bytes(broken)))
        except InputError:
            continue


def test_messages_that_cannot_be_used_are_told_of_now_and_then() -> None:
    story = Story()
    for second in range(25):
        story.watch.refuse(f"bad {second}\x1b", float(second))
    said = [line for line in story.look().log if "cannot be used" in line]
    assert said[0] == "warning: console: 1 messages cannot be used, the newest: bad 0\\x1b"
    assert said[-1] == "warning: console: 23 messages cannot be used, the newest: bad 22\\x1b"
    assert len(said) == 3


def test_figures_that_cannot_be_are_not_shown() -> None:
    story = Story()
    story.caption.others |= {"process_memory_mb": 1e300, "model_mb": float("nan")}
    row = story.play(3).row("caption_node")
    assert row is not None
    assert (row.cpu_mb, row.size_mb) == (None, None)


def test_what_does_not_fit_ends_with_a_whole_word_and_how_often_it_came() -> None:
    text = (
        "an inference took 162.0 ms, longer than the period of 33.3 ms of the camera at 1280x960 and 29.97 Hz, as seen"
    )
    for more in range(30):  # wherever the line ends
        story = Story()
        story.watch.line.note(f"{'n' * more} {text} (100 times)", 8.0)
        shown = plain(first_screen(story.play(1), 80, 24)).splitlines()
        (line,) = (line for line in shown if "an inference took" in line)
        assert len(line) <= 80
        words, _, often = line.partition("…")
        assert often == " (100 times)"
        assert words.split()[-1] in text.split()
