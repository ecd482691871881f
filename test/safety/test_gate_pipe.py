"""What goes over the pipe of the gate, and how it ends."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from perf_inference.errors import InputError
from perf_inference.safety.process import messages
from perf_inference.safety.process.messages import Act, Beat, Message, Outcome, Setup, State, packed, unpacked
from perf_inference.safety.process.pipe import Pipe, pair

EACH = (
    Setup({"limits": {"names": ["a"], "upper_rad": [math.inf]}}),
    Beat("active"),
    messages.Accepted("image", 1, 2, None),
    messages.Refused("image", "no such encoding 'ä'", True),
    messages.Narrow([-1.0], [1.0], [2.0]),
    Act(7, 1, 2, [(0.0, [0.1, -0.2]), (0.1, [0.1, -0.2])]),
    messages.Enable(False),
    messages.Stop(),
    State(True, True, False, "nothing on /image for 0.3 s", 3, 1, 20.5, True),
    messages.Ours(["0a1b"]),
    Outcome(7, [0.1, -0.2], False, "", 5),
    Outcome(8, None, False, "not sent", 0),
    messages.Failed("limits.upper must have 2 values"),
)


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, Pipe]]:
    ours, socket = pair()
    theirs = Pipe(socket)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("message", EACH, ids=lambda message: type(message).__name__)
def test_each_message_arrives_as_it_was(ends: tuple[Pipe, Pipe], message: Message) -> None:
    assert ends[0].send(message)
    [came] = ends[1].take()
    assert type(came) is type(message)
    assert packed(came) == packed(message)


def test_an_action_that_is_not_finite_stays_that() -> None:
    came = unpacked(packed(Act(1, 0, 0, [(0.0, [math.nan, math.inf])])))
    assert isinstance(came, Act)
    assert math.isnan(came.knots[0][1][0])
    assert came.knots[0][1][1] == math.inf


@pytest.mark.parametrize(
    "packet",
    [b"", b"{}", b"[]", b'["Beat"]', b'["Nothing", 1]', b'["Beat", 1, 2]', b"\xff\x00", b'[["Beat"], 1]', b"1"],
)
def test_what_is_no_message_is_told_and_skipped(packet: bytes) -> None:
    with pytest.raises(InputError, match="must be a message of this version, got"):
        unpacked(packet)


def test_a_packet_that_is_no_message_does_not_stop_the_next() -> None:
    ours, theirs = pair()
    with theirs:
        theirs.send(b"nonsense")
        theirs.send(packed(Beat("active")))
        assert ours.take() == [Beat("active")]
    assert "got b'nonsense'" in ours.malformed
    ours.close()


def test_a_message_too_long_for_a_packet_is_refused() -> None:
    with pytest.raises(InputError, match="must have at most 65536 bytes"):
        packed(Beat("x" * 70_000))


def test_they_come_in_order_and_not_all_at_once(ends: tuple[Pipe, Pipe]) -> None:
    sent = [Outcome(number, None, False, "", 0) for number in range(250)]
    came: list[Message] = []
    for message in sent:
        if not ends[0].send(message):
            came += ends[1].take()
            ends[0].send(message)
    came += ends[1].take()
    while more := ends[1].take():
        came += more
    assert came == sent


def test_nobody_waits_for_one_who_does_not_read(ends: tuple[Pipe, Pipe]) -> None:
    for _ in range(10_000):
        ends[0].send(Beat("active"))
    assert ends[0].lost > 0
    assert not ends[0].ended
    while ends[1].take():
        pass
    assert ends[0].send(Beat("active"))


def test_the_end_is_seen_after_what_was_sent_before_it(ends: tuple[Pipe, Pipe]) -> None:
    ends[0].send(Beat("active"))
    ends[0].close()
    assert ends[1].take() == [Beat("active")]
    assert ends[1].take() == []
    assert ends[1].ended
    assert not ends[1].send(Beat("active"))
    ends[0].close()
    assert not ends[0].send(Beat("active"))


def test_waiting_ends_when_something_comes_or_another_descriptor_says_something(ends: tuple[Pipe, Pipe]) -> None:
    reading, writing = os.pipe()
    assert ends[1].wait(0.0, [reading]) == []
    os.close(writing)
    assert ends[1].wait(30.0, [reading]) == [reading]
    ends[0].send(Beat("active"))
    assert ends[1].wait(30.0) == []
    os.close(reading)


def test_the_death_of_the_other_side_is_its_end_though_it_has_a_child() -> None:
    # The end that policy_node holds is not inherited: what it has started itself does not keep the gate alive.
    ours, theirs = pair()
    code = (
        "import os, subprocess, sys; from perf_inference.safety.process.pipe import Pipe\n"
        "from perf_inference.safety.process.messages import Beat\n"
        "pipe = Pipe.of_descriptor(int(sys.argv[1]))\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False)\n"
        "pipe.send(Beat(str(child.pid))); os.kill(os.getpid(), 9)"
    )
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    process.wait()
    ours.wait(30.0)
    [beat] = ours.take()
    assert isinstance(beat, Beat)
    if not ours.ended:  # the end may have come with the beat
        ours.wait(30.0)
        assert ours.take() == []
    assert ours.ended
    os.kill(int(beat.mode), 9)
    ours.close()
