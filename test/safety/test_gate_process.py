"""policy_node's end of the pipe and the gate's, on a clock that the test holds; what each does when the other dies."""

from __future__ import annotations

from typing import Any

import pytest

from perf_inference.errors import InputError
from perf_inference.safety import Gate, GateSettings, Instant, JointLimits
from perf_inference.safety.process.front import Front
from perf_inference.safety.process.keeper import Keeper
from perf_inference.safety.process.messages import Accepted, Act, Enable, Failed, Message, Narrow, Outcome, State

MS = 1_000_000
EPOCH_NS = 1_700_000_000_000_000_000
LIMITS = JointLimits.of(("a", "b"), (-1.0, -1.0), (1.0, 1.0), (2.0, 2.0))
TOPICS = {name: f"/{name}" for name in ("image", "joint_states", "force")}


class Two:
    """A front and a keeper with its gate; what one sends the other has at once, unless it is stopped or dead."""

    def __init__(self, kind: str = "velocity", safe_action: str = "zero", limits: JointLimits = LIMITS) -> None:
        self.ms, self.sent = 1000.0, []  # type: ignore[var-annotated]
        self.policy_runs = self.gate_runs = True
        self.to_gate: list[Message] = []
        self.to_policy: list[Message] = []
        self.settings = GateSettings(kind, 0.1, 0.3, 0.0, 0.2, safe_action)
        self.limits = limits
        self.front = Front(LIMITS, self.settings, TOPICS, self.now)
        self.start_gate()
        self.later(40)
        self.keeper.handle(Enable(True))
        self.fresh()
        self.later(20)

    def start_gate(self) -> None:
        self.gate = Gate(self.limits, self.settings, TOPICS, self.sent.append)
        self.keeper = Keeper(self.gate, self._answer, self.now)
        self.gate_runs = True
        self.front.attach(self._ask)

    def now(self) -> Instant:
        return Instant(round(self.ms * MS), EPOCH_NS + round(self.ms * MS))

    def _ask(self, message: Message) -> bool:
        self.to_gate.append(message)
        self._deliver()
        return True

    def _answer(self, message: Message) -> bool:
        self.to_policy.append(message)
        self._deliver()
        return True

    def _deliver(self) -> None:
        while self.gate_runs and self.to_gate:
            self.keeper.handle(self.to_gate.pop(0))
        while self.policy_runs and self.to_policy:
            self.front.handle(self.to_policy.pop(0))

    def fresh(self, a: float = 0.0, b: float = 0.0) -> None:
        """A new sample of everything; the gate hears joint_states itself."""
        self.ms += 1
        for name in ("image", "force"):
            if self.policy_runs:
                self.front.accept(name, self.now(), self.now().ros_ns)
        for side in (self.front, self.gate):
            side.joint_states(self.now(), self.now().ros_ns, ["a", "b"], [a, b], [0.0, 0.0])

    def later(self, ms: float, joints: bool = False) -> str:
        """Let time pass; both look every 20 ms, as far as they run."""
        end = self.ms + ms
        while self.ms < end:
            self.ms = min(self.ms + 20, end)
            self._deliver()
            if joints:
                self.fresh()
            if self.gate_runs:
                self.keeper.look()
            if self.policy_runs:
                self.front.look(self.now())
        return self.front.reason

    def release(self, *values: float) -> list[float]:
        return self.front.release(self.now(), values, self.front.observed_ns())[0]

    def moving(self) -> bool:
        return bool(self.sent) and any(self.sent[-1])


@pytest.fixture
def two() -> Two:
    made = Two()
    assert made.release(0.5, -0.25) == [0.5, -0.25]
    return made


def test_an_action_goes_through_and_the_gate_says_what_was_sent(two: Two) -> None:
    assert two.sent[-1] == [0.5, -0.25]
    assert two.later(20) == ""
    assert two.front.enabled
    assert two.front.release(two.now(), [9.0, 0.0], two.front.observed_ns()) == (
        pytest.approx([2.0, 0.0], abs=1e-3), True,
    )  # fmt: skip
    two.later(20)
    assert two.front.sends == 2


def test_what_the_gate_refuses_is_an_error_of_the_action(two: Two) -> None:
    with pytest.raises(InputError, match="must be 2 finite values"):
        two.release(float("nan"), 0.0)
    two.gate.enable(False, two.now())
    with pytest.raises(InputError, match="disabled while the action was computed"):
        two.release(0.5, 0.5)
    assert not two.moving()


def test_images_count_as_the_policy_judged_them(two: Two) -> None:
    two.front.refuse("image", "no such encoding", forget=True)
    assert two.later(20) == "no accepted sample on /image yet: no such encoding"
    assert not two.moving()
    two.fresh()
    two.release(0.5, 0.5)
    assert two.moving()


def test_a_policy_that_falls_silent_is_stopped_after_two_beats_then_nothing_is_sent(two: Two) -> None:
    # t [ms]  0 ------ 200 ---------------- 1200 ----------
    # policy  beats, then none
    # sent    the command, safe action, again and again, nothing
    two.later(60)
    two.policy_runs = False
    two.later(120, joints=True)
    assert two.moving()
    two.later(140, joints=True)
    assert not two.moving()
    assert two.gate.reason.startswith("policy_node has been silent for 0.")
    sent = len(two.sent)
    two.later(600, joints=True)
    assert len(two.sent) > sent + 5
    two.later(600, joints=True)
    sent = len(two.sent)
    two.later(2000, joints=True)
    assert len(two.sent) == sent


def test_a_policy_that_was_stopped_for_a_while_drives_again(two: Two) -> None:
    two.policy_runs = False
    two.later(3000, joints=True)
    two.policy_runs = True
    two.later(40, joints=True)
    assert not two.moving()
    two.release(0.5, 0.5)
    assert two.moving()
    assert two.later(20) == ""


def test_the_end_of_the_policy_gives_the_safe_action_for_a_while_and_then_the_end_of_the_gate(two: Two) -> None:
    two.policy_runs = False
    two.keeper.end("its process has ended")
    assert two.sent[-1] == [0.0, 0.0], "at once"
    sent = len(two.sent)
    two.later(300, joints=True)
    assert not two.keeper.finished()
    two.later(300, joints=True)
    assert two.keeper.finished()
    assert len(two.sent) > sent + 5
    assert not any(any(command) for command in two.sent[sent:])
    two.keeper.handle(Act(99, two.now().steady_ns, two.now().steady_ns, [(0.0, [0.5, 0.5])]))
    two.keeper.handle(Enable(True))
    assert not two.moving()


def test_one_that_decelerates_is_let_to_come_to_rest_before_the_end() -> None:
    two = Two(safe_action="decelerate")
    two.release(2.0, 0.0)
    two.keeper.end("its process has ended")
    two.later(20)
    assert 0 < two.sent[-1][0] < 2.0
    two.later(1300)
    assert two.keeper.finished()
    speeds = [command[0] for command in two.sent]
    assert speeds[-1] == 0.0
    assert speeds == sorted(speeds, reverse=True) or speeds[0] == 0.0


def test_one_that_slows_down_for_seconds_is_let_to_come_to_rest_too() -> None:
    two = Two(safe_action="decelerate", limits=JointLimits.of(("a", "b"), (-9, -9), (9, 9), (2, 2), (1, 1)))
    two.release(2.0, 0.0)
    two.keeper.end("its process has ended")
    two.later(1500)
    assert not two.keeper.finished()
    two.later(700)
    assert two.sent[-1][0] == 0.0
    assert two.keeper.finished()


def test_a_policy_that_ends_in_order_lets_the_gate_end_sooner(two: Two) -> None:
    two.front.stop(two.now())
    assert two.sent[-1] == [0.0, 0.0]
    assert two.front.reason == "stopping"
    assert two.keeper.in_order
    two.later(160)
    assert not two.keeper.finished(), "the policy still has its last words"
    two.keeper.end("its end of the pipe is closed")
    assert two.keeper.finished()


def test_an_action_that_the_gate_meets_late_is_not_sent(two: Two) -> None:
    # The policy has given it up, and may have sent zero itself.
    two.later(60)
    before = list(two.sent)
    two.gate_runs = False
    with pytest.raises(InputError, match=r"the gate has not answered within 0\.1 s"):
        two.release(0.7, 0.7)
    two.ms += 150
    two.gate_runs = True
    two.later(20)
    assert [0.7, 0.7] not in two.sent[len(before) :]


def test_a_gate_that_hangs_is_stood_in_for_while_a_command_may_be_in_force(two: Two) -> None:
    two.later(20)
    assert not two.front.stands_in(two.now())
    two.gate_runs = False
    two.later(60)
    assert not two.front.stands_in(two.now())
    assert two.later(40).startswith("the gate has been silent for 0.1 s")
    assert two.front.stands_in(two.now())
    assert not two.front.is_fresh(two.now())
    two.gate_runs = True
    two.later(20)
    assert not two.front.stands_in(two.now())


def test_a_gate_that_dies_is_stood_in_for_at_once(two: Two) -> None:
    two.later(20)
    two.gate_runs = False
    two.front.detach("the gate's process was killed by SIGKILL; another one is started")
    assert two.front.stands_in(two.now())
    assert two.later(20) == "the gate's process was killed by SIGKILL; another one is started"
    with pytest.raises(InputError, match="SIGKILL; another one is started: not sent"):
        two.release(0.5, 0.5)
    two.later(900)
    assert two.front.stands_in(two.now())
    two.later(200)
    assert not two.front.stands_in(two.now())


def test_one_that_dies_after_an_action_was_asked_for_may_have_sent_it(two: Two) -> None:
    two.gate.enable(False, two.now())
    two.later(20)
    two.gate_runs = False
    with pytest.raises(InputError, match="has not answered"):
        two.release(0.5, 0.5)
    two.front.detach("the gate's process was killed by SIGKILL")
    assert two.front.stands_in(two.now())


@pytest.mark.parametrize("driven", [False, True])
def test_nobody_stands_in_for_a_gate_that_was_not_driving(driven: bool) -> None:
    two = Two()
    if driven:
        two.release(0.5, 0.5)
        two.gate.enable(False, two.now())
        two.later(20)
    two.front.detach("the gate's process was killed by SIGKILL")
    two.later(20)
    assert not two.front.stands_in(two.now())


def test_another_gate_is_told_what_the_first_one_was(two: Two) -> None:
    two.front.narrow(JointLimits.of(("a", "b"), (-0.5, -0.5), (0.5, 0.5), (0.1, 0.1)))
    two.front.detach("the gate's process was killed by SIGKILL")
    two.to_policy.clear()
    two.start_gate()
    assert not two.front.ready()
    two.later(20)
    assert two.front.ready()
    assert two.front.reason == "disabled"
    assert not two.front.enabled
    two.gate.enable(True, two.now())
    two.fresh()
    two.later(20)
    assert two.release(1.0, 1.0) == [0.1, 0.1]


def test_another_gate_of_a_policy_that_ends_stops_at_once(two: Two) -> None:
    two.front.detach("the gate's process was killed by SIGKILL")
    two.front.stop(two.now())
    two.start_gate()
    assert two.keeper.in_order
    assert not two.moving()


def test_both_are_stopped_and_go_on(two: Two) -> None:
    two.policy_runs = two.gate_runs = False
    two.later(3000)
    two.gate_runs = True
    two.later(20)
    assert not two.moving(), "what the command rested on is too old"
    two.policy_runs = True
    two.later(40)
    two.fresh()
    two.later(20)
    two.release(0.5, 0.5)
    assert two.moving()


def test_a_gate_that_looks_late_takes_what_has_come_before_it_judges(two: Two) -> None:
    two.later(20)
    two.gate_runs = False
    two.later(500)  # the policy beats on
    two.gate_runs = True
    two.later(20)
    assert "silent" not in two.gate.reason


@pytest.mark.parametrize("field", ["enabled", "ready"])
def test_an_action_is_asked_for_only_while_the_gate_would_take_it(two: Two, field: str) -> None:
    assert two.front.is_fresh(two.now())
    if field == "enabled":
        two.gate.enable(False, two.now())
    else:
        two.gate.bar("estop", "estop: true on /estop", two.now())
    two.later(20)
    assert not two.front.is_fresh(two.now())


def test_a_model_that_leaves_no_room_disables(two: Two) -> None:
    two.keeper.handle(Narrow([2.0, 2.0], [3.0, 3.0], [1.0, 1.0]))
    assert two.later(20).startswith("disabled: limits must be lower <= upper")
    assert not two.moving()


def test_why_a_gate_cannot_start_is_told() -> None:
    front = Front(LIMITS, GateSettings("velocity", 0.1, 0.3, 0.0, 0.2), TOPICS, lambda: Instant(1, 1))
    front.handle(Failed("joint_names must name each joint once"))
    assert front.failed == "joint_names must name each joint once"
    assert not front.ready()


def test_an_answer_to_somebody_who_no_longer_waits_is_dropped(two: Two) -> None:
    two.front.handle(Outcome(12345, [0.1, 0.1], False, "", 0))
    two.front.handle(State(True, True, True, "", 2, 0, 20.0))
    assert two.release(0.25, 0.25) == [0.25, 0.25]


def test_the_gate_counts_the_age_of_what_the_policy_accepted(two: Two) -> None:
    now: Any = two.now()
    two.keeper.handle(Accepted("image", now.steady_ns - 290 * MS, now.steady_ns, now.ros_ns - 290 * MS))
    two.ms += 20
    two.keeper.look()
    assert two.gate.reason.startswith("nothing on /image for 0.3 s")
