"""The gate in shadow mode: the robot goes where somebody else leads it, and nothing of that time is left afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from perf_inference.errors import InputError
from perf_inference.safety import Gate, GateSettings, Instant, JointLimits
from perf_inference.safety.commands.knots import Trajectory
from perf_inference.safety.process.front import Front
from perf_inference.safety.process.keeper import Keeper
from perf_inference.safety.process.messages import SHADOW, Beat, Message, Ours, State

MS = 1_000_000
EPOCH_NS = 1_700_000_000_000_000_000
LIMITS = JointLimits.of(("a", "b"), (-1.0, -1.0), (1.0, 1.0), (2.0, 2.0))


class Play:
    """A gate at 10 Hz, whose robot and shadow each have a list of what was sent to them."""

    def __init__(self, kind: str, trajectory: bool = False) -> None:
        self.ms = 1000.0
        self.robot: list[Any] = []
        self.elsewhere: list[Any] = []
        self.target = self.robot
        settings = GateSettings(kind, 0.1, 0.3, 0.1, 0.2, trajectory=trajectory)
        self.gate = Gate(LIMITS, settings, {"joint_states": "/joint_states"}, lambda c: self.target.append(c))
        self.at(0.0)

    def now(self) -> Instant:
        return Instant(round(self.ms * MS), EPOCH_NS + round(self.ms * MS))

    def at(self, a: float, b: float = 0.0) -> None:
        """The robot is measured here, 20 ms later."""
        self.ms += 20
        self.gate.joint_states(self.now(), self.now().ros_ns, ["a", "b"], [a, b], [0.0, 0.0])
        self.gate.look(self.now())

    def shadow(self, on: bool) -> None:
        def switch() -> None:
            self.target = self.elsewhere if on else self.robot

        self.gate.shadow(on, self.now(), switch)

    def release(self, *values: float) -> list[float]:
        return self.gate.release(self.now(), values, self.gate.observed_ns())[0]


@pytest.mark.parametrize(("kind", "trajectory"), [("velocity", False), ("position", False), ("position", True)])
def test_a_robot_that_goes_elsewhere_does_not_stop_a_shadow(kind: str, trajectory: bool) -> None:
    play = Play(kind, trajectory)
    play.shadow(True)
    del play.robot[:]
    for step in range(40):
        play.at(-0.02 * step)  # the teleoperator leads it down, the policy wants it up
        play.release(0.5, 0.5)
        assert play.gate.reason == ""
    assert play.robot == []
    assert len(play.elsewhere) >= 40


def test_a_command_of_a_shadow_is_within_the_limits() -> None:
    play = Play("velocity")
    play.shadow(True)
    play.at(0.9)
    assert play.release(9.0, 9.0)[0] < 0.25
    with pytest.raises(InputError, match="finite"):
        play.release(float("nan"), 0.0)


def test_leaving_a_shadow_disables_and_holds_where_the_robot_is_not_where_the_shadow_was() -> None:
    for trajectory in (False, True):
        play = Play("position", trajectory)
        play.shadow(True)
        for _ in range(40):
            play.at(0.0)
            play.release(0.9, 0.9)
        del play.robot[:]
        play.shadow(False)
        assert not play.gate.enabled
        for _ in range(20):
            play.at(0.0)
        assert play.robot
        for command in play.robot:
            places = command.knots[-1].positions if isinstance(command, Trajectory) else command
            assert places == pytest.approx([0.0, 0.0], abs=1e-9)
        with pytest.raises(InputError, match="disabled"):
            play.release(0.1, 0.1)
        assert play.gate.enable(True, play.now()) == ""
        play.release(0.1, 0.1)


def test_after_a_shadow_the_robot_is_compared_again_with_what_it_is_sent() -> None:
    play = Play("velocity")
    play.shadow(True)
    play.at(0.0)
    play.shadow(False)
    play.gate.enable(True, play.now())
    play.at(0.0)
    play.release(0.5, 0.0)
    for _ in range(3):
        with contextlib.suppress(InputError):  # it cannot have moved so far; the third time it is believed
            play.at(-0.9)
    play.gate.look(play.now())
    assert play.gate.reason.startswith("tracking: a is at -0.9 rad")


def test_a_barred_gate_is_not_enabled_by_a_shadow() -> None:
    play = Play("velocity")
    play.gate.bar("estop", "estop on /estop", play.now())
    play.shadow(True)
    assert not play.gate.enabled


class Place:
    """Where commands go, as a keeper sees it."""

    def __init__(self) -> None:
        self.in_shadow, self.ours = False, []  # type: ignore[var-annotated]

    def want_shadow(self, on: bool) -> None:
        self.in_shadow = on

    def take_for_ours(self, gids: Any) -> None:
        self.ours += gids


@pytest.fixture
def ends() -> tuple[Front, Keeper, Place, Callable[[], None]]:
    play, place = Play("velocity"), Place()
    front = Front(LIMITS, play.gate.settings, {"joint_states": "/joint_states"}, play.now)
    keeper = Keeper(play.gate, lambda message: front.handle(message) or True, play.now, shadow=place)

    def ask(message: Message) -> bool:
        keeper.handle(message)
        return True

    front.attach(ask)

    def later() -> None:
        play.ms += 100
        front.look(play.now())
        keeper.look()

    return front, keeper, place, later


def test_each_beat_says_where_commands_are_to_go(ends: tuple[Front, Keeper, Place, Callable[[], None]]) -> None:
    front, _, place, later = ends
    assert front.in_shadow is None
    later()
    assert front.in_shadow is False
    front.shadow(True, ["0a"])
    assert place.in_shadow
    assert place.ours == ["0a"]
    place.in_shadow = False  # another gate, that has been started again
    later()
    later()
    assert front.in_shadow is True
    front.shadow(False)
    later()
    assert front.in_shadow is False


def test_a_keeper_without_a_shadow_takes_the_messages_all_the_same() -> None:
    play = Play("velocity")
    said: list[Message] = []
    keeper = Keeper(play.gate, lambda message: said.append(message) or True, play.now)
    keeper.handle(Beat(SHADOW))
    keeper.handle(Ours(["0a"]))
    keeper.look()
    assert isinstance(said[-1], State)
    assert not said[-1].shadow
