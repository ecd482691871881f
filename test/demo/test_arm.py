"""The arm against timelines worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perf_inference.demo.arm import Arm, ArmLimits, inverse, tip
from perf_inference.demo.scenes import arm_at

FAR = ArmLimits(position_rad=((-100.0, 100.0), (-100.0, 100.0)))


def test_velocity_follows_its_command_as_a_first_order_lag() -> None:
    arm = Arm(FAR, time_constant_s=0.05, position_rad=(0.0, 0.0))
    arm.command((1.0, -2.0), 10.0)
    arm.advance(10.05)
    share = 1 - math.exp(-1)  # 63 % after one time constant
    assert arm.velocity_rad_s == pytest.approx([share, -2 * share])
    assert arm.position_rad == pytest.approx([0.05 * (1 - share), -0.1 * (1 - share)])


def test_the_path_does_not_depend_on_how_often_it_is_advanced() -> None:
    rare, often = Arm(), Arm()
    for arm, steps in ((rare, 1), (often, 137)):
        arm.command((0.7, 0.3), 0.0)
        for k in range(1, steps + 1):
            arm.advance(0.5 * k / steps)
    assert often.position_rad == pytest.approx(rare.position_rad)
    assert often.velocity_rad_s == pytest.approx(rare.velocity_rad_s)


def test_an_old_command_makes_it_brake() -> None:
    # t [s]   0        0.3            0.35
    # target  [- 1.0 -][------ 0 ---------
    arm = Arm(FAR, dead_man_s=0.3, position_rad=(0.0, 0.0))
    arm.command((1.0, 1.0), 0.0)
    arm.advance(0.299)
    assert not arm.braking
    assert arm.velocity_rad_s[0] > 0.99
    arm.advance(0.35)
    assert arm.braking
    assert arm.velocity_rad_s == pytest.approx([(1 - math.exp(-6)) * math.exp(-1)] * 2)
    arm.command((1.0, 1.0), 0.4)
    assert not arm.braking


def test_it_brakes_before_its_first_command_and_time_does_not_run_backwards() -> None:
    arm = Arm(position_rad=(1.0, 1.5))
    arm.advance(5.0)
    arm.advance(9.0)
    assert arm.braking
    assert arm.position_rad == pytest.approx([1.0, 1.5])
    arm.command((1.0, 0.0), 9.0)
    arm.advance(9.2)
    before = arm.position_rad.copy()
    arm.advance(9.1)
    assert arm.position_rad == pytest.approx(before)


def test_commands_are_clamped_and_joint_limits_stop_it() -> None:
    limits = ArmLimits(position_rad=((-1.0, 1.0), (0.2, 2.8)), velocity_rad_s=(2.0, 2.0))
    arm = Arm(limits, dead_man_s=10.0, position_rad=(0.9, 1.0))
    arm.command((50.0, -50.0), 0.0)
    arm.advance(0.01)
    assert np.abs(arm.velocity_rad_s).max() <= 2.0
    arm.advance(5.0)
    assert arm.position_rad == pytest.approx([1.0, 0.2])
    assert arm.velocity_rad_s == pytest.approx([0.0, 0.0])


@pytest.mark.parametrize("bad", [(math.nan, 0.0), (math.inf, 0.0), (1.0,), (1.0, 2.0, 3.0), ((1.0, 2.0),)])
def test_a_bad_command_is_refused_and_changes_nothing(bad: tuple[float, ...]) -> None:
    arm = Arm()
    with pytest.raises(ValueError, match="two finite numbers"):
        arm.command(bad, 0.0)
    assert arm.braking


def test_forward_and_inverse_agree_with_each_other_and_with_the_image() -> None:
    rng = np.random.default_rng(0)
    for shoulder, elbow in rng.uniform((-0.3, 0.2), (3.2, 2.8), size=(200, 2)):
        x_px, y_px = tip((shoulder, elbow))
        assert (x_px, y_px) == pytest.approx(arm_at(shoulder, elbow).points_px[2])
        assert tip(inverse(x_px, y_px)) == pytest.approx((x_px, y_px))
        if y_px < 440:  # above its base the branch is unique
            assert inverse(x_px, y_px) == pytest.approx([shoulder, elbow])


def test_out_of_reach_the_arm_points_at_it() -> None:
    assert inverse(320.0, -1000.0) == pytest.approx([math.pi / 2, 0.0])
