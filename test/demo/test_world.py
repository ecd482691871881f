"""The simulated table: the same seed gives the same run, and the puck stays where the arm can follow it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from perf_inference.demo.arm import ArmLimits, inverse, tip
from perf_inference.demo.scenes import Item, occlusion, render
from perf_inference.demo.world import (
    CONTACT_N_PER_PX,
    EPISODE_S,
    REACH_HOLD_S,
    REACH_PX,
    START_DISTANCE_PX,
    Camera,
    Judge,
    World,
    contact_force,
)

EPISODES = [World(7).episode(index) for index in range(40)]
TIMES_S = np.arange(0, EPISODE_S + 0.01, 0.01)


def test_an_episode_is_a_function_of_seed_and_index() -> None:
    assert World(7).episode(3) == EPISODES[3]
    assert World(7).episode(3) != World(7).episode(4)
    assert World(7).episode(3) != World(8).episode(3)


def test_a_image_is_a_function_of_seed_time_and_pose() -> None:
    camera = Camera(EPISODES[0])
    first = camera.image(1.0, (1.0, 1.5)).copy()
    other = camera.image(2.0, (1.2, 1.5))
    assert first.shape == (480, 640, 3)
    assert first.dtype == np.uint8
    assert (first != other).any()
    assert (Camera(World(7).episode(0)).image(1.0, (1.0, 1.5)) == first).all()


def test_the_camera_sees_what_render_draws() -> None:
    quiet = Camera(EPISODES[1])
    quiet._noise[:] = 0
    seen = quiet.image(0.5, (1.0, 1.5)).astype(np.float64)
    drawn = render(EPISODES[1].scene_at(0.5, (1.0, 1.5))).astype(np.float64)
    assert abs((seen - drawn).mean()) < 1.0  # `render` cuts to integers, the camera rounds
    assert np.abs(seen - drawn).mean() < 6.0  # the noise of one
    blocks = (seen - drawn).reshape(48, 10, 64, 10, 3).mean(axis=(1, 3))
    assert np.abs(blocks).max() < 5.0


def test_the_puck_stays_in_reach_and_in_the_image() -> None:
    limits = np.array(ArmLimits().position_rad)
    for episode in EPISODES:
        path = episode.track.at(TIMES_S)
        poses = inverse(path[:, 0], path[:, 1])
        assert (poses > limits[:, 0]).all()
        assert (poses < limits[:, 1]).all()
        assert np.abs(np.diff(poses, axis=0)).max() / 0.01 < 0.8 * min(ArmLimits().velocity_rad_s)
        assert path.min() > episode.radius_px
        assert path[:, 1].max() < 480 - episode.radius_px


def test_a_tip_that_stands_still_never_reaches_the_puck() -> None:
    held = round(REACH_HOLD_S / 0.01)
    for episode in EPISODES:
        path = episode.track.at(TIMES_S)
        for place in path[::25]:
            near = np.hypot(*(path - place).T) <= REACH_PX
            longest = max(len(run) for run in "".join("x" if n else " " for n in near).split(" "))
            assert longest - 1 < held


def test_the_start_is_away_from_the_puck_and_the_items_are_told_apart() -> None:
    for episode in EPISODES:
        target = episode.target_at(0.0)
        start = tip(episode.start_position_rad)
        assert np.hypot(start[0] - target.x_px, start[1] - target.y_px) >= START_DISTANCE_PX
        assert target.name == "red circle"
        assert 1 <= len(episode.distractors) <= 3
        assert all(item.color != "red" for item in episode.distractors)
        radii = sorted(item.radius_px for item in (*episode.distractors, target))
        assert all(b / a > 1.15 for a, b in itertools.pairwise(radii))
    for t_s in (0.0, 1.7, 3.9):
        assert max(max(occlusion(e.scene_at(t_s, (1.0, 1.5)).items)) for e in EPISODES) == 0.0


def test_the_judge_wants_the_tip_on_the_puck_without_a_break() -> None:
    # t [s]   0    0.1       0.5  0.55  0.6        1.09  1.1   1.2
    # tip     off  [--- on ---]   off   [---- on -----------]  off
    episode = EPISODES[0]
    judge = Judge(episode)
    off = {0, 55, 120}
    said = {}
    for centi in range(0, 121, 5):
        target = episode.target_at(centi / 100)
        shift = REACH_PX + (1 if centi in off else -1)
        said[centi] = judge.update(centi / 100, (target.x_px + shift, target.y_px))
    assert [t for t in said if said[t]] == [110, 115, 120]
    assert judge.reached


def test_contact_pushes_outwards_and_only_on_the_puck() -> None:
    puck = Item("circle", "red", 300.0, 200.0, 30.0)
    assert contact_force((331.0, 200.0), puck) == (0.0, 0.0, 0.0)
    push = 10 * CONTACT_N_PER_PX
    assert contact_force((320.0, 200.0), puck) == pytest.approx((push, 0.0, push / 2))
    assert contact_force((300.0, 180.0), puck) == pytest.approx((0.0, push, push / 2))
    assert contact_force((300.0, 200.0), puck) == pytest.approx((0.0, 0.0, 15 * CONTACT_N_PER_PX))
