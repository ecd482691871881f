"""What is wrong is named rightly: faults put into the heartbeats and timings of a whole robot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.graph_story import Story

CAMERA = "/camera/image_raw"


def _all_images(story: Story, **values: object) -> None:
    for engine in story.engines:
        for name, value in values.items():
            setattr(engine.inputs["image"], name, value)


def slow_camera(story: Story) -> None:
    _all_images(story, hz=14.0)


def slow_camera_where_no_rate_is_promised(story: Story) -> None:
    _all_images(story, hz=14.0)
    story.engines.remove(story.yolo)
    story.yolo.silent = True


def lossy_transport(story: Story) -> None:
    _all_images(story, hz=14.0, lost_hz=16.0)


def stalled_camera(story: Story) -> None:
    _all_images(story, silent_s=0.6)


def old_images(story: Story) -> None:
    _all_images(story, delay_ms=320.0)


def clocks_apart(story: Story) -> None:
    _all_images(story, delay_ms=None)


def unreadable_images(story: Story) -> None:
    story.yolo.inputs["image"].rejected_hz = 10.0
    story.yolo.message, story.yolo.ok = "rejected: an image must be 480 rows", False


def wrong_type(story: Story) -> None:
    source = story.yolo.inputs["image"]
    source.silent_s, source.hz = 5.0, 0.0
    story.yolo.ok = False

    def problem() -> None:
        source.problem = f"topic {CAMERA} must be sensor_msgs/msg/Image, but std_msgs/msg/String is published on it"

    problem()
    source.silent_s = None


def no_camera(story: Story) -> None:
    _all_images(story, hz=0.0, problem=f"no message yet on {CAMERA}")


def slow_engine(story: Story) -> None:
    story.yolo.stages_ms["infer"] = 31.0


def slow_decoding(story: Story) -> None:
    story.yolo.stages_ms["decode"] = 30.0


def slow_preprocessing(story: Story) -> None:
    story.yolo.stages_ms["preprocess"] = 35.0


def slow_postprocessing(story: Story) -> None:
    story.yolo.stages_ms["postprocess"] = 40.0


def slow_subscriber(story: Story) -> None:
    story.yolo.stages_ms["publish"] = 45.0


def busy_cores(story: Story) -> None:
    assert story.host is not None
    story.host |= {"cpu_pct": 99.0, "load_per_core": 3.0}
    for engine in story.engines:
        engine.stages_ms["infer"] *= 4
    story.yolo.stages_ms["queue"] = 12.0


def busy_cores_lose_messages(story: Story) -> None:
    assert story.host is not None
    story.host |= {"cpu_pct": 99.0, "load_per_core": 3.0}
    _all_images(story, hz=20.0, lost_hz=10.0)


def busy_cores_without_a_monitor(story: Story) -> None:
    story.host = None
    story.yolo.stages_ms["infer"] = 36.0


def late_ticks(story: Story) -> None:
    story.caption.late_ms = 480.0


def swap(story: Story) -> None:
    said = "loading pruned (runtime auto, precision int8, device auto); meanwhile running captioner (onnx fp32 on cpu)"
    story.caption.others["engine_state"] = said
    story.caption.stages_ms["infer"] = 600.0


def failed_swap(story: Story) -> None:
    story.caption.others["engine_state"] = "failed: the trial on the last input failed; running captioner"
    story.caption.message, story.caption.ok = "swap failed: the trial on the last input failed", False


def stale_joint_state(story: Story) -> None:
    for node in (story.policy, story.gate):
        node.message, node.ok = "safe action: nothing on /joint_states for 0.5 s", False
    story.policy.inputs["joint_states"].hz = 2.0


def frozen_joint_state(story: Story) -> None:
    why = "that can be used: joint_states must have a new stamp in each message, got the one before again"
    for node in (story.policy, story.gate):
        node.message, node.ok = f"safe action: nothing on /joint_states for 0.5 s {why}", False


def same_stamp_again(story: Story) -> None:
    frozen_joint_state(story)
    story.policy.inputs["joint_states"].more["same_stamp_s"] = 3.25


def frozen_camera(story: Story) -> None:
    _all_images(story, delay_ms=3250.0, more={"same_stamp_s": 3.25})


def nobody_publishes(story: Story) -> None:
    _all_images(story, silent_s=5.0, more={"publishers": 0})


def two_cameras_on_a_topic(story: Story) -> None:
    _all_images(story, hz=60.0, more={"publishers": 2, "senders": "camera, replay_node"})


def second_arm_sends_nan(story: Story) -> None:
    source = story.policy.inputs["joint_states"]
    source.rejected_hz, source.more = 50.0, {"publishers": 2, "senders": "arm_driver, simulator"}


def joints_that_cannot_be(story: Story) -> None:
    source = story.policy.inputs["joint_states"]
    source.rejected_hz, source.more = 100.0, {"publishers": 1, "refused": "joint_states must have a possible position"}


def asked_too_often(story: Story) -> None:
    story.caption.ticks["received"] += 20
    story.caption.ticks["replaced"] += 18


def same_name_without_a_heartbeat(story: Story) -> None:
    story.watch.names({"/yolo_node": 2, "/camera": 1}, story.now_s)


def estop(story: Story) -> None:
    for node in (story.policy, story.gate):
        node.message, node.ok = "safe action: estop: true on /estop", False


def joint_does_not_follow(story: Story) -> None:
    for node in (story.policy, story.gate):
        node.message, node.ok = "safe action: tracking: elbow is 0.31 rad from where the commands lead", False


def full_disk(story: Story) -> None:
    story.recorder.message = ("recording has stopped: 12.0 MB are free at /data/runs/run_1, and min_free_bytes keeps "
                              "100.0 MB; it goes on when there is room")  # fmt: skip
    story.recorder.ok = False


def disk_that_is_soon_full(story: Story) -> None:
    story.recorder.values["left_bytes"], story.recorder.growing["bytes"] = 120_000_000, 2e6


def growing_memory(story: Story) -> None:
    story.caption.others["process_memory_mb"] = 150.0 + 10 * (story.now_s - 1000.0)
    story.play(10, lambda: story.caption.others.update(process_memory_mb=150.0 + 10 * (story.now_s - 1000.0)))
    story.caption.others["process_memory_mb"] = 150.0 + 10 * (story.now_s - 1000.0)


def slow_disk(story: Story) -> None:
    story.recorder.growing["dropped"] = 40.0
    story.recorder.message, story.recorder.ok = "40 records dropped, 0 not readable", False


def dead_node(story: Story) -> None:
    story.yolo.silent = True


def crashing_node(story: Story) -> None:
    if not hasattr(story, "again"):
        story.again = 1  # type: ignore[attr-defined]
    story.yolo.start = int(story.now_s) // 3  # another process every three seconds


def failing_engine(story: Story) -> None:
    story.yolo.failed_hz = 9.0
    story.yolo.message, story.yolo.ok = "failed: RuntimeError: CUDA", False


def slow_server(story: Story) -> None:
    story.yolo.runtime, story.yolo.stages_ms["infer"] = "remote", 60.0


def gpu_held_back(story: Story) -> None:
    story.yolo.device, story.yolo.stages_ms["infer"] = "cuda:0", 40.0
    story.gpu = {"gpu": "H100", "held_back_by": "hw_thermal_slowdown", "memory_used_pct": 10.0}


def low_precision(story: Story) -> None:
    story.yolo.message = "outputs at int8 differ from fp32 by 0.4 of their largest, max_difference is 0.05"
    story.yolo.precision, story.yolo.ok = "int8", False


def two_of_one_name(story: Story) -> None:
    story.yolo.start = 2 if story.yolo.start == 1 else 1


def slow_engine_on_a_busy_machine(story: Story) -> None:
    assert story.host is not None
    story.host |= {"cpu_pct": 99.0, "load_per_core": 3.0}
    story.yolo.engine, story.yolo.stages_ms["infer"] = "large", 60.0


def slow_camera_on_a_busy_machine(story: Story) -> None:
    assert story.host is not None
    story.host |= {"cpu_pct": 99.0, "load_per_core": 3.0}
    _all_images(story, hz=14.0)
    story.yolo.stages_ms["infer"] = 36.0


def slower_on_purpose(story: Story) -> None:
    story.gate.values["gate.speed_scale"] = 0.3


def another_sender(story: Story) -> None:
    why = (
        "disabled: somebody else publishes on /action: /teleop (10 messages/s); call policy_node/enable when it is over"
    )
    for node in (story.policy, story.gate):
        node.message, node.ok = f"safe action: {why}", False


def gate_hangs(story: Story) -> None:
    story.gate.silent = True
    story.policy.message, story.policy.ok = "safe action: the gate has been silent for 2.0 s", False


def paused(story: Story) -> None:
    story.recorder.values["paused"] = "true"
    story.recorder.message, story.recorder.ok = "not heard, hence not recorded: arm_driver", False


def errors_in_callbacks(story: Story) -> None:
    story.caption.message, story.caption.ok = "ValueError in the callback of a timer, caption_node.py:9: no", False
    story.caption.others["callback_errors"] = int(story.now_s)


def bad_messages(story: Story) -> None:
    story.caption.message, story.caption.ok = "a heartbeat skipped: it has no name", False
    story.caption.others["bad_messages"] = int(story.now_s)


def actions_too_late(story: Story) -> None:
    story.policy.others["state"] = "driving"
    story.policy.message, story.policy.ok = "rejected: the observation grew older than 0.3 s: action not sent", False
    story.policy.ticks["rejected"] += 2


def something_else(story: Story) -> None:
    story.caption.message, story.caption.ok = "the moon is full", False


FAULTS: list[tuple[Callable[[Story], None], str, str, str]] = [
    (slow_camera, "yolo_node", "slow_source", "gives 14 of 30 Hz: the source is slow"),
    (slow_camera_where_no_rate_is_promised, "caption_node", "slow_source", "gives 14 Hz, it gave 30 before"),
    (lossy_transport, "yolo_node", "lost_before", "gives 14 of 30 Hz: "),
    (stalled_camera, "yolo_node", "stalled", "/camera/image_raw is silent for"),
    (old_images, "yolo_node", "transport", "are 320 ms old when yolo_node gets them"),
    (clocks_apart, "yolo_node", "clocks", "the clocks differ"),
    (unreadable_images, "yolo_node", "rejected", "cannot be read: rejected: an image must be 480 rows"),
    (wrong_type, "yolo_node", "wrong_type", "must be sensor_msgs/msg/Image"),
    (no_camera, "yolo_node", "no_source", "/camera/image_raw gives nothing"),
    (slow_engine, "yolo_node", "infer", "infer takes 31.0 of 33.9 ms"),
    (slow_decoding, "yolo_node", "decode", "decode takes 30.0 of 40.9 ms"),
    (slow_preprocessing, "yolo_node", "preprocess", "preprocess takes 35.0 of 45.7 ms"),
    (slow_postprocessing, "yolo_node", "postprocess", "postprocess takes 40.0 of 51.5 ms"),
    (slow_subscriber, "yolo_node", "publish", "publish takes 45.0 of 56.6 ms"),
    (busy_cores, "yolo_node", "busy_cores", "the processor of robot is busy with other work"),
    (busy_cores_lose_messages, "yolo_node", "busy_cores", "the processor is busy with other work"),
    (busy_cores_without_a_monitor, "yolo_node", "slowed", "9.0 at best with the same model"),
    (late_ticks, "caption_node", "queue", "messages wait 480 ms for its thread"),
    (swap, "caption_node", "swap", "is loading pruned (runtime auto, precision int8, device auto): slower until then"),
    (failed_swap, "caption_node", "swap_failed", "the trial on the last input failed"),
    (stale_joint_state, "policy_node", "stale_input", "nothing on /joint_states for 0.5 s"),
    (frozen_joint_state, "policy_node", "unusable_input", "got the one before again"),
    (same_stamp_again, "policy_node", "frozen", "/joint_states is frozen: its messages go on, with the same stamp"),
    (frozen_camera, "yolo_node", "frozen", "/camera/image_raw is frozen: its messages go on, with the same stamp"),
    (nobody_publishes, "yolo_node", "stalled", "s: nobody publishes on it any more"),
    (
        two_cameras_on_a_topic,
        "yolo_node",
        "several_sources",
        "2 nodes publish on /camera/image_raw (camera, replay_node)",
    ),
    (
        second_arm_sends_nan,
        "policy_node",
        "several_sources",
        "2 nodes publish on /joint_states (arm_driver, simulator)",
    ),
    (joints_that_cannot_be, "policy_node", "rejected", "cannot be read: joint_states must have a possible position"),
    (asked_too_often, "caption_node", "asked_too_often", "caption_node is asked 42 times a second"),
    (same_name_without_a_heartbeat, "yolo_node", "double", "2 nodes of the graph are named yolo_node"),
    (estop, "policy_node", "estop", "estop: true on /estop"),
    (joint_does_not_follow, "policy_node", "tracking", "elbow is 0.31 rad from where the commands lead"),
    (full_disk, "recorder_node", "disk_full", "12.0 MB are free at /data/runs/run_1"),
    (disk_that_is_soon_full, "recorder_node", "disk_soon_full", "the disk is full in 1 minutes: 120 MB are left, 2 MB"),
    (growing_memory, "caption_node", "memory_grows", "its memory has grown from 150 to"),
    (slow_disk, "recorder_node", "disk_slow", "records dropped within 10 s"),
    (dead_node, "yolo_node", "silent", "yolo_node is silent for 10 s"),
    (crashing_node, "yolo_node", "restarts", "was started again"),
    (failing_engine, "yolo_node", "failed", "failed in the engine: failed: RuntimeError: CUDA"),
    (slow_server, "yolo_node", "server", "the server or the way to it"),
    (gpu_held_back, "yolo_node", "gpu_slowed", "held back by hw_thermal_slowdown: infer takes 40.0 ms"),
    (low_precision, "yolo_node", "precision", "outputs at int8 differ from fp32"),
    (two_of_one_name, "yolo_node", "double", "several processes call themselves yolo_node"),
    (slow_engine_on_a_busy_machine, "yolo_node", "infer", "infer takes 60.0 of 62.9 ms"),
    (slow_camera_on_a_busy_machine, "yolo_node", "slow_source", "gives 14 of 30 Hz: the source is slow"),
    (slower_on_purpose, "policy_node_gate", "speed_scale", "speed_scale is 0.3"),
    (another_sender, "policy_node", "other_sender", "somebody else publishes on /action: /teleop"),
    (gate_hangs, "policy_node", "gate", "the gate has been silent"),
    (paused, "recorder_node", "paused", "recorder_node is paused"),
    (errors_in_callbacks, "caption_node", "callback_errors", "ValueError in the callback of a timer"),
    (bad_messages, "caption_node", "bad_messages", "a heartbeat skipped: it has no name"),
    (actions_too_late, "policy_node", "not_sent", "actions of policy_node were not sent: rejected: the observation"),
    (something_else, "caption_node", "own_words", "caption_node: the moon is full"),
]
_AGAIN = (asked_too_often, crashing_node, two_of_one_name, errors_in_callbacks, bad_messages, actions_too_late)


@pytest.mark.parametrize(("fault", "node", "kind", "said"), FAULTS, ids=[fault.__name__ for fault, *_ in FAULTS])
def test_a_fault_is_named(fault: Callable[[Story], None], node: str, kind: str, said: str) -> None:
    story = Story()
    well = story.play(10)
    assert [row.level for row in well.rows] == ["ok"] * 5, well.rows[0].cause
    fault(story)
    picture = story.play(10, (lambda: fault(story)) if fault in _AGAIN else lambda: None)
    row = picture.row(node)
    assert row is not None
    assert row.cause.kind == kind, row.cause
    assert said in row.cause.text
    assert row.level != "ok"
    assert row.cause.fix
    worst = picture.rows[0]
    assert worst.cause.kind == kind or worst.cause.rank > row.cause.rank


def test_without_a_fault_each_node_says_where_its_time_goes() -> None:
    picture = Story().play(10)
    said = {row.name: row.cause.text for row in picture.rows}
    assert said["yolo_node"] == "yolo_node: infer takes 9.0 of 11.9 ms (100 timings)"
    assert said["caption_node"] == "caption_node: infer takes 30.0 of 31.0 ms (20 timings)"
    assert said["recorder_node"] == "recorder_node: 3000 records, 2 wait for the disk"
    assert picture.banner.state == "DRIVING"
    assert not picture.machine


def test_a_machine_that_is_hot_or_full_is_told_of() -> None:
    story = Story()
    assert story.host is not None
    story.host["memory_used_pct"], story.platform["temperature_degc"] = 97.0, 91.0
    assert [cause.kind for cause in story.play(3).machine] == ["hot", "memory"]


def test_two_nodes_of_a_name_without_a_heartbeat_are_told_of_until_one_is_gone() -> None:
    story = Story()
    story.play(2)
    story.watch.names({"/camera_driver": 2, "/yolo_node": 1}, story.now_s)
    (cause,) = story.play(1).machine
    assert cause.kind == "double"
    assert "2 nodes of the graph are named /camera_driver" in cause.text
    story.watch.names({"/camera_driver": 1, "/yolo_node": 1}, story.now_s)
    assert not story.play(1).machine


def test_a_node_that_was_killed_and_started_again_is_not_two() -> None:
    story = Story()
    story.play(5)
    story.yolo.start = 2
    story.watch.names({"/yolo_node": 2}, story.now_s)  # the killed one is in the graph for 20 s
    row = story.play(15).row("yolo_node")
    assert row is not None
    assert "double" not in [cause.kind for cause in (row.cause, *row.others)]
    assert (row := story.play(15).row("yolo_node")) is not None  # and longer: there are two
    assert row.cause.kind == "double"
