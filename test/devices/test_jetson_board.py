"""A Jetson without root and without tegrastats: clocks, load, power and jetson_clocks from the kernel's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.jetson_trees import AGX_ORIN, AGX_XAVIER, ORIN_NANO, OTHER_BOARD, THOR, write_tree
from support.machine_samples import S, at, gpu, window

from perf_inference.telemetry.board import BoardSample, read_board
from perf_inference.telemetry.history import MachineSample
from perf_inference.telemetry.jetson import Jetson, clocks_fixed
from perf_inference.telemetry.nvml import GpuSample
from perf_inference.telemetry.tegrastats_sample import SUMMED_RAILS


def on(second: float, board: BoardSample, line: str = "", *gpus: GpuSample) -> MachineSample:
    sample = at(second, *gpus, line=line)
    return MachineSample(
        sample.monotonic_ns, sample.system_ns, sample.host, sample.gpus, sample.tegrastats, board=board
    )


def board_of(tmp_path: Path, files: dict[str, str]) -> BoardSample:
    board = read_board(write_tree(tmp_path, files))
    assert board is not None
    return board


@pytest.mark.parametrize(
    ("files", "mhz", "load_pct", "power_w"),
    [
        (AGX_ORIN, {"17000000.gpu": 1300.5}, 31.0,
         {"VDD_GPU_SOC": 3.176, "VDD_CPU_CV": 2.382, "VIN_SYS_5V0": 4.61, "VDDQ_VDD2_1V8AO": 0.8}),
        (ORIN_NANO, {"17000000.gpu": 612.0}, 99.5, {"VDD_IN": 7.44, "VDD_CPU_GPU_CV": 2.48, "VDD_SOC": 1.488}),
        (AGX_XAVIER, {"17000000.gv11b": 1377.0}, 36.0,
         {"GPU": 5.035, "CPU": 5.339, "SOC": 3.192, "CV": 0.0, "VDDRQ": 1.064, "SYS5V": 3.605}),
        (THOR, {"gpu-gpc-0": 495.0}, None,
         {"VDD_GPU": 1.978, "VDD_CPU_SOC_MSS": 5.934, "VIN_SYS_5V0": 5.635, "VIN": 19.78}),
    ],
)  # fmt: skip
def test_the_kernel_tells_clocks_load_and_power(
    tmp_path: Path, files: dict[str, str], mhz: dict[str, float], load_pct: float | None, power_w: dict[str, float]
) -> None:
    board = board_of(tmp_path, files)
    assert (board.gpu_mhz, board.gpu_load_pct) == (mhz, load_pct)
    assert board.power_w == pytest.approx(power_w)


@pytest.mark.parametrize(("files", "fixed"), [(AGX_ORIN, True), (ORIN_NANO, False), (AGX_XAVIER, False), (THOR, False)])
def test_the_state_of_jetson_clocks_needs_no_tool(tmp_path: Path, files: dict[str, str], fixed: bool) -> None:
    write_tree(tmp_path, files)
    assert clocks_fixed(tmp_path) is fixed
    assert Jetson(["no-such-nvpmodel"], sys=tmp_path).sample().jetson_clocks is fixed


@pytest.mark.parametrize("device", ["gpu-gpc-0", "gpu-nvd-0"])
def test_thors_clocks_are_fixed_when_both_of_its_devices_are(tmp_path: Path, device: str) -> None:
    write_tree(tmp_path, THOR)
    for name in ("gpu-gpc-0", "gpu-nvd-0"):
        folder = tmp_path / "class/devfreq" / name
        (folder / "min_freq").write_text((folder / "max_freq").read_text())
    assert clocks_fixed(tmp_path) is True
    (tmp_path / "class/devfreq" / device / "min_freq").write_text("315000000\n")
    assert clocks_fixed(tmp_path) is False


def test_another_makers_board_is_no_jetson(tmp_path: Path) -> None:
    write_tree(tmp_path, OTHER_BOARD)
    assert read_board(tmp_path) is None
    assert clocks_fixed(tmp_path) is None
    assert Jetson(["no-such-nvpmodel"], sys=tmp_path).sample().jetson_clocks is None


def test_a_monitor_that_does_not_answer_is_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path, ORIN_NANO)
    (tmp_path / "class/hwmon/hwmon1/curr2_input").unlink()
    (tmp_path / "class/hwmon/hwmon1/in3_input").write_text("")
    (tmp_path / "class/devfreq/17000000.gpu/cur_freq").unlink()
    board = read_board(tmp_path)
    assert board is not None
    assert not board.gpu_mhz
    assert board.power_w == pytest.approx({"VDD_IN": 7.44})


# -- in a window


def test_a_board_without_tegrastats_has_clock_power_and_energy(tmp_path: Path) -> None:
    board = board_of(tmp_path, ORIN_NANO)
    found = window(0, 2, *(on(second, board) for second in (0, 1, 2)))
    assert found.gpu is not None
    assert (found.gpu.mean_mhz, found.clock_moved, found.clock_moved_of) == (612, False, "gpu")
    assert found.power_source == "VDD_IN"
    assert found.energy_j == pytest.approx(2 * 7.44)


def test_agx_boards_add_the_rails_that_make_up_the_module(tmp_path: Path) -> None:
    for name, files, total_w in (("orin", AGX_ORIN, 3.176 + 2.382 + 4.61), ("xavier", AGX_XAVIER, 18.235)):
        board = board_of(tmp_path / name, files)
        found = window(0, 2, *(on(second, board) for second in (0, 1, 2)))
        assert found.power_source in {"+".join(rails) for rails in SUMMED_RAILS}
        assert found.power_w == pytest.approx(total_w)
        assert found.energy_j == pytest.approx(2 * total_w)
    assert "VDDQ_VDD2_1V8AO" not in "+".join(SUMMED_RAILS[0])  # VIN_SYS_5V0 feeds it: it would count twice


def test_thors_whole_input_comes_before_its_rails(tmp_path: Path) -> None:
    board = board_of(tmp_path, THOR)
    found = window(0, 1, on(0, board), on(1, board))
    assert found.power_source == "VIN"
    assert found.power_w == pytest.approx(19.78)


def test_tegrastats_comes_first_and_the_kernel_tells_what_it_does_not_print(tmp_path: Path) -> None:
    board = board_of(tmp_path, ORIN_NANO)
    whole = "RAM 1/2MB GR3D_FREQ 5%@[306] VDD_IN 4000mW/1mW"
    found = window(0, 1, on(0, board, whole), on(1, board, whole))
    assert found.gpu is not None
    assert (found.gpu.mean_mhz, found.power_w) == (306, 4.0)
    assert sorted(found.powers) == ["VDD_IN"]
    bare = "RAM 1/2MB GR3D_FREQ 5% VDD_IN 4000mW/1mW"  # L4T 36 prints no clock
    found = window(0, 1, on(0, board, bare), on(1, board, bare))
    assert found.gpu is not None
    assert (found.gpu.mean_mhz, found.power_w) == (612, 4.0)


def test_a_cluster_that_is_off_is_left_out_of_the_mean() -> None:
    line = "RAM 1/2MB GR3D_FREQ 5%@[{},{}]"
    found = window(0, 1, at(0, line=line.format(306, 0)), at(1, line=line.format(306, 0)))
    assert found.gpu is not None
    assert (found.gpu.min_mhz, found.gpu.mean_mhz) == (306, 306)
    found = window(0, 1, at(0, line=line.format(0, 0)), at(1, line=line.format(0, 0)))
    assert found.gpu is not None
    assert found.gpu.mean_mhz == 0  # all are off: that is the GPU's clock
    found = window(0, 1, at(0, line=line.format(306, 0)), at(1, line=line.format(306, 306)))
    assert found.gpu is not None
    assert (found.gpu.min_mhz, found.clock_moved) == (0, True)  # it was switched on inside


def test_a_summary_says_whose_clock_moved() -> None:
    only_cpu = window(0, 1, at(0, mhz=1000), at(1, mhz=1500)).as_dict()
    assert (only_cpu["clock_moved"], only_cpu["clock_moved_of"]) == (True, "cpu")
    both = window(0, 1, at(0, gpu(sm_mhz=900), mhz=1000), at(1, gpu(sm_mhz=900), mhz=1500)).as_dict()
    assert (both["clock_moved"], both["clock_moved_of"]) == (False, "gpu")
    assert window(0, 1).as_dict()["clock_moved_of"] is None


# -- a GPU's own counter of energy


def counted(second: float, watts: float, joules: float) -> MachineSample:
    return at(second, gpu(power_w=watts, energy_j=joules))


def test_a_counter_takes_the_place_of_the_readings_of_power() -> None:
    # t [s]     0     1     2     3
    # W        10    10    10    10      30 J by readings: they missed what the GPU did in between
    # J       100   112   130   141      41 J counted
    timeline = [counted(0, 10, 100), counted(1, 10, 112), counted(2, 10, 130), counted(3, 10, 141)]
    found = window(0, 3, *timeline)
    assert (found.energy_j, found.powers["gpu0"].energy_j, found.powers["gpu0"].counted_j) == (41.0, 30.0, 41.0)
    # 0.5 s: half of 12 J; 2.25 s: a quarter of 11 J
    assert window(0.5, 2.25, *timeline).energy_j == pytest.approx(6 + 18 + 2.75)
    # beyond the last reading of the counter by the power: 0.5 s x 10 W
    assert window(1, 3.5, *timeline).energy_j == pytest.approx(29 + 5)
    assert window(-1, 1, *timeline).energy_j == pytest.approx(10 + 12)
    assert window(0.25, 0.75, *timeline).energy_j == pytest.approx(6.0)


def test_a_counter_bridges_a_gap_that_the_readings_cannot() -> None:
    timeline = [counted(0, 10, 100), counted(1, 10, 110), counted(8, 10, 180), counted(9, 10, 190)]
    found = window(0, 9, *timeline)
    assert (found.energy_j, found.powers["gpu0"].energy_j) == (90.0, None)
    assert window(2, 9, *timeline).energy_j is None  # how much of it was before, nobody knows


def test_a_counter_that_starts_from_zero_inside_the_window_does_not_count() -> None:
    found = window(0, 2, counted(0, 10, 100), counted(1, 10, 0), counted(2, 10, 10))
    assert (found.energy_j, found.powers["gpu0"].counted_j) == (20.0, None)


def test_one_gpu_without_a_counter_is_added_by_its_readings() -> None:
    samples = [at(t, gpu(0, power_w=10, energy_j=11.0 * t), gpu(1, power_w=30)) for t in (0, 1, 2)]
    assert window(0, 2, *samples).energy_j == 22.0 + 60.0
    assert samples[1].monotonic_ns == S
