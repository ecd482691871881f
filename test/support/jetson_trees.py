"""What /sys holds on four Jetsons, file by file: device and rail names, units and figures as those boards show them.

Frequencies are the boards' own limits, powers those of a line that tegrastats printed on that board; voltage and
current are chosen so that they multiply to it.
"""

from __future__ import annotations

from pathlib import Path

_CPU = "devices/system/cpu/cpufreq"


def _devfreq(name: str, low_hz: int, now_hz: int, high_hz: int, load: int | None = None) -> dict[str, str]:
    folder = f"class/devfreq/{name}"
    found = {f"{folder}/min_freq": low_hz, f"{folder}/cur_freq": now_hz, f"{folder}/max_freq": high_hz}
    if load is not None:
        found[f"{folder}/device/load"] = load
    return {path: f"{value}\n" for path, value in found.items()}


def _policy(index: int, low_khz: int, high_khz: int) -> dict[str, str]:
    folder = f"{_CPU}/policy{index}"
    return {f"{folder}/scaling_min_freq": f"{low_khz}\n", f"{folder}/scaling_max_freq": f"{high_khz}\n"}


def _ina3221(index: int, *rails: tuple[str, int, int]) -> dict[str, str]:
    """Return a monitor with its rails as (name, mV, mA), and the files that are no rail."""
    folder = f"class/hwmon/hwmon{index}"
    found = {f"{folder}/name": "ina3221\n", f"{folder}/in7_label": "sum of shunt voltages\n"}
    for channel, (name, millivolts, milliamperes) in enumerate(rails, 1):
        found[f"{folder}/in{channel}_label"] = f"{name}\n"
        found[f"{folder}/in{channel}_input"] = f"{millivolts}\n"
        found[f"{folder}/curr{channel}_input"] = f"{milliamperes}\n"
        found[f"{folder}/in{channel + 3}_input"] = "440\n"  # the shunt's voltage [uV]
    return {**found, f"{folder}/in7_input": "1320\n", f"{folder}/curr4_input": "660\n"}


AGX_ORIN = {  # L4T 36, jetson_clocks on
    **_policy(0, 2201600, 2201600), **_policy(4, 2201600, 2201600), **_policy(8, 2201600, 2201600),
    **_devfreq("17000000.gpu", 1300500000, 1300500000, 1300500000, load=310),
    **_devfreq("15480000.nvdec", 115200000, 115200000, 793600000, load=0),
    **_ina3221(1, ("VDD_GPU_SOC", 19850, 160), ("VDD_CPU_CV", 19850, 120), ("VIN_SYS_5V0", 5000, 922)),
    **_ina3221(2, ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 160), ("NC", 0, 0)),
}  # fmt: skip
ORIN_NANO = {  # L4T 36, clocks follow the load
    **_policy(0, 729600, 1510400), **_policy(4, 729600, 1510400),
    **_devfreq("17000000.gpu", 306000000, 612000000, 624750000, load=995),
    **_ina3221(1, ("VDD_IN", 4960, 1500), ("VDD_CPU_GPU_CV", 4960, 500), ("VDD_SOC", 4960, 300)),
}  # fmt: skip
AGX_XAVIER = {  # L4T 35, the GPU's clock follows the load although the cores' are fixed
    **_policy(0, 2265600, 2265600),
    **_devfreq("17000000.gv11b", 114750000, 1377000000, 1377000000, load=360),
    **_ina3221(4, ("GPU", 19000, 265), ("CPU", 19000, 281), ("SOC", 19000, 168)),
    **_ina3221(5, ("CV", 19000, 0), ("VDDRQ", 19000, 56), ("SYS5V", 5000, 721)),
}  # fmt: skip
THOR = {  # L4T 38: the GPU has a device for its clusters and one for its codecs, neither has a load; clocks not fixed
    **_policy(0, 2601000, 2601000), **_policy(12, 2601000, 2601000),
    **_devfreq("gpu-gpc-0", 315000000, 495000000, 1575000000),
    **_devfreq("gpu-nvd-0", 315000000, 666000000, 1692000000),
    **_devfreq("bwmgr", 665600000, 4266000000, 4266000000),
    **_ina3221(3, ("VDD_GPU", 19780, 100), ("VDD_CPU_SOC_MSS", 19780, 300), ("VIN_SYS_5V0", 5000, 1127)),
    "class/hwmon/hwmon4/name": "ina238\n",
    "class/hwmon/hwmon4/in1_input": "19800\n",
    "class/hwmon/hwmon4/power1_input": "19780000\n",
}  # fmt: skip
OTHER_BOARD = {  # a Rockchip: a Mali GPU under devfreq, and no Jetson
    **_policy(0, 408000, 1800000),
    **_devfreq("fb000000.gpu", 300000000, 300000000, 1000000000, load=0),
    "class/hwmon/hwmon0/name": "rk_thermal\n",
}  # fmt: skip


def write_tree(folder: Path, files: dict[str, str]) -> Path:
    """Write the files below a folder, and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
