"""tegrastats' lines: the forms that are documented, real lines, and anything else without an exception."""

from __future__ import annotations

import itertools
import json
import random
import string
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.paths import SHARED_DATA

from perf_inference.telemetry.tegrastats import parse
from perf_inference.telemetry.tegrastats_sample import Core, Engine, Mts, Rail, TegrastatsSample

# Written from the description of the forms, for where the real lines are not at hand.
TX1 = "RAM 100/4000MB (lfb 5x4MB) SWAP 1/2MB (cached 3MB) cpu [17%,off,5%]@408 EMC 1%@408 VDE 0 GR3D 3%@76 EDP limit 0"
NANO = "RAM 9/10MB (lfb 16x256kB) IRAM 1/252kB(lfb 252kB) CPU [1%@102,off] MTS fg 1% bg 2% NVENC 716 POM_5V_IN 45/46"
ORIN = (
    "05-06-2024 20:29:45 RAM 3715/30991MB (lfb 3x4MB)   SWAP 0/0MB (cached 0MB) CPU [0%@729,3%@2201] EMC_FREQ @2133 "
    "GR3D_FREQ 12%@[305,306] NVENC 79%@166 NVDEC off VIC_FREQ 1036 VIC_LOAD 3% APE 174 PVA0_FREQ [10%,20%]@1011 "
    "CV0@-256C gpu@43.218C tj@47C VDD_GPU 2801mW/2802mW VIN_SYS_5V0 5mW/6mW NC 0mW/0mW CPU 7mW/8mW"
)
THOR = (
    "RAM 9/10MB (lfb 1x4MB) CPU [1%@972] GR3D_FREQ @[0,0,0] NVENC0_FREQ @314 cpu@34.3C/34.8C gpu@-256C/40C "
    "VIN 10mW/11mW/12mW VDD_GPU 5mW"
)
LINES = (TX1, NANO, ORIN, THOR)


def sample_of(line: str) -> TegrastatsSample:
    sample = parse(line)
    assert sample is not None, line
    return sample


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "tegrastats" / name).read_text().splitlines()]


def test_the_old_syntax_shares_one_clock_among_the_cores() -> None:
    sample = sample_of(TX1)
    assert sample.cpu == (Core(17, 408, True), Core(None, None, False), Core(5, 408, True))
    assert (sample.emc_load_pct, sample.emc_freq_mhz) == (1, 408)
    assert (sample.gpu_load_pct, sample.gpu_freq_mhz) == (3, (76,))
    assert (sample.swap_used_mb, sample.swap_total_mb, sample.swap_cached_mb) == (1, 2, 3)
    assert sample.engines == {"VDE": Engine(on=True, freq_mhz=0)}


def test_the_clock_of_a_tk1_is_unknown() -> None:
    assert sample_of("RAM 9/10MB (lfb 2x4MB) cpu [0%,off]@-1 VDE 0 EDP limit 0").cpu == (
        Core(0, None, True),
        Core(None, None, False),
    )


def test_the_clock_of_one_core_may_be_unknown() -> None:
    assert sample_of("RAM 9/10MB CPU [1%@-1,2%@5]").cpu == (Core(1, None, True), Core(2, 5, True))


def test_blocks_in_kb_and_memory_of_the_codecs() -> None:
    sample = sample_of(NANO)
    assert (sample.lfb_blocks, sample.lfb_block_kb) == (16, 256)
    assert (sample.iram_used_kb, sample.iram_total_kb) == (1, 252)
    assert sample.swap_used_mb is sample.swap_total_mb is sample.swap_cached_mb is None
    assert sample.mts == Mts(1, 2)
    assert sample.engines == {"NVENC": Engine(on=True, freq_mhz=716)}
    assert sample.power_mw == {"POM_5V_IN": Rail(45, 46)}
    assert sample.total_rail == "POM_5V_IN"


def test_names_that_collide_are_told_apart_by_what_follows() -> None:
    sample = sample_of(ORIN)
    assert sample.timestamp == datetime(2024, 5, 6, 20, 29, 45)  # month first
    assert sample.cpu == (Core(0, 729, True), Core(3, 2201, True))
    assert sample.power_mw == {
        "VDD_GPU": Rail(2801, 2802), "VIN_SYS_5V0": Rail(5, 6), "NC": Rail(0, 0), "CPU": Rail(7, 8),
    }  # fmt: skip
    assert sample.total_rail is None  # VIN_SYS_5V0 is the 5 V rail only
    assert (sample.gpu_load_pct, sample.gpu_freq_mhz) == (12, (305, 306))
    assert (sample.emc_load_pct, sample.emc_freq_mhz) == (None, 2133)


def test_a_sensor_that_is_off_is_unavailable_not_cold() -> None:
    sample = sample_of(ORIN)
    assert (sample.temps_c, sample.temps_unavailable) == ({"gpu": 43.218, "tj": 47.0}, ("CV0",))
    assert sample.hottest_c == 47.0
    assert sample_of("RAM 9/10MB PMIC@100C CPU@40C").hottest_c == 40.0  # the PMIC's figure is fixed


def test_engines_in_every_form() -> None:
    assert sample_of(ORIN).engines == {
        "NVENC": Engine(True, 79, 166),
        "NVDEC": Engine(False),
        "VIC": Engine(True, 3, 1036),
        "APE": Engine(True, None, 174),
        "PVA0": Engine(True, 15, 1011, (10, 20)),  # one load per VPU
    }


def test_thor_prints_clocks_without_a_load_and_maxima() -> None:
    sample = sample_of(THOR)
    assert (sample.gpu_load_pct, sample.gpu_freq_mhz) == (None, (0, 0, 0))
    assert (sample.temps_c, sample.temps_max_c) == ({"cpu": 34.3}, {"cpu": 34.8, "gpu": 40.0})
    assert sample.temps_unavailable == ("gpu",)
    assert sample.power_mw == {"VIN": Rail(10, 11, 12), "VDD_GPU": Rail(5)}
    assert sample.as_dict()["power_mw"] == {
        "VIN": {"now": 10, "avg": 11, "max": 12},
        "VDD_GPU": {"now": 5, "avg": None},
    }


@pytest.mark.parametrize(
    "before",
    [
        "2026-11-20T12:00:00.123+00:00 ",
        "Jan 26 18:22:31 jetson tegrastats[812]: ",
        "[INFO] ",
        '"',
        "2026-11-20 12:00:00 05-06-2024 20:29:45 ",
    ],
)
def test_what_a_wrapper_printed_before_is_no_part_of_the_sample(before: str) -> None:
    bare = ORIN.partition("20:29:45 ")[2]
    alone, wrapped = sample_of(bare).as_dict(), sample_of(before + bare + ('"' if before == '"' else "")).as_dict()
    assert wrapped.pop("timestamp") == ("2024-05-06T20:29:45" if "05-06-2024" in before else None)
    assert wrapped == {name: value for name, value in alone.items() if name != "timestamp"}


def test_blanks_in_a_list_and_a_list_that_is_cut_off() -> None:
    assert sample_of("RAM 9/10MB CPU [1%@2, off ,3%@4 ] APE 5").cpu == (
        Core(1, 2, True),
        Core(None, None, False),
        Core(3, 4, True),
    )
    assert sample_of("RAM 9/10MB (lfb 2x4MB) CPU [1%@729,3%@7").cpu == ()  # the last clock may be 729


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "RAM",
        "IRAM 1/2MB",
        "GR3D_FREQ 5%@76 gpu@40C",
        "RAM 1 of 2",
        "CPU [",
        "tegrastats: command not found",
        "\0",
        "05-06-2024 20:29:45",
    ],
)
def test_no_sample(line: str) -> None:
    assert parse(line) is None


def test_the_order_of_the_tokens_does_not_matter() -> None:
    date, _, rest = ORIN.partition(" RAM ")
    memory, _, rest = rest.partition(" SWAP ")
    swap, _, rest = rest.partition(" CPU ")
    cores, _, rest = rest.partition(" EMC")
    tokens = [f"RAM {memory}", f"SWAP {swap}", f"CPU {cores}", "EMC" + rest]
    for order in itertools.permutations(tokens):
        assert sample_of(" ".join([date, *order])) == sample_of(ORIN), order
    assert sample_of("VDD_IN 5mW/6mW gpu@40C RAM 9/10MB").power_mw == {"VDD_IN": Rail(5, 6)}


def test_an_impossible_date_is_no_timestamp() -> None:
    assert sample_of("13-45-2024 20:29:45 RAM 9/10MB").timestamp is None


def test_the_records_of_real_lines(shared_data: Path) -> None:
    expected = records(shared_data, "expected.jsonl")
    for record in expected:
        got = sample_of(record["line"]).as_dict()
        assert got == record["expected"], record["id"]
        assert list(got) == list(record["expected"])
    assert len(expected) == 30


def test_every_real_line_gives_memory_and_cores(shared_data: Path) -> None:
    for record in records(shared_data, "lines.jsonl"):
        sample = sample_of(record["line"])
        assert sample.ram_used_mb is not None, record["id"]
        assert sample.ram_total_mb, record["id"]
        assert sample.cpu, record["id"]
        assert all(core.load_pct is not None for core in sample.cpu if core.online), record["id"]


def test_lines_that_are_no_samples(shared_data: Path) -> None:
    for record in records(shared_data, "negative.jsonl"):
        assert parse(record["line"]) is None, record["line"]


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.text(max_size=200),
            st.text(alphabet="RAMCPUGD3_FEQcpu[]()@%,/-.0123456789 mWMBkxoft\t\n", max_size=300),
            st.from_regex(r"RAM [0-9]{1,30}/[0-9]+MB( [A-Z0-9_]+ \S+| \w+@-?[0-9.]+C| [A-Z]+ \[[0-9%@,]*\]?)*"),
        ),
        max_size=20,
    )
)
def test_any_text_is_read_without_an_exception(lines: list[str]) -> None:
    for line in lines:
        sample = parse(line)
        if sample is not None:
            json.dumps(sample.as_dict(), allow_nan=False)


@pytest.mark.long
def test_a_hundred_thousand_damaged_lines_raise_nothing() -> None:
    source = random.Random(20261120)
    lines = list(LINES)
    if SHARED_DATA.is_dir():
        lines += [record["line"] for record in records(SHARED_DATA, "lines.jsonl")]
    words = [line.split(" ") for line in lines]
    noise = string.printable + "½٣²\ud800\u2028\x00"
    for _ in range(100_000):
        text = " ".join(source.choice(words))
        for _ in range(source.randint(1, 2)):
            text = damaged(text, source, noise, words)
        parse(text)


def damaged(text: str, source: random.Random, noise: str, words: list[list[str]]) -> str:
    """Return the line with a piece cut out, doubled, replaced, or joined to another line's."""
    at = source.randrange(len(text) + 1)
    until = min(len(text), at + source.randint(0, 12))
    how = source.randrange(6)
    if how == 0:
        return text[:at]
    if how == 1:
        return text[:at] + text[until:]
    if how == 2:
        return text[:until] + text[at:]
    if how == 3:
        return text[:at] + source.choice(noise) + text[at + 1 :]
    if how == 4:
        return text[:at] + source.choice(source.choice(words)) + text[at:]
    other = text.split(" ")
    source.shuffle(other)
    return " ".join(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        "[",
        "a[ ",
        "RAM ",
        "1%,",
        "a@",
        "9",
        "1/",
        "X 1/",
        "(",
        "@[1",
        "01-02-2024 ",
        " ",
        "MTS fg ",
        "-",
        "é@1C/",
        "A ",
        "A",
    ],
)
@pytest.mark.parametrize("head", ["", "RAM 1/2MB CPU [1%@2] "])
def test_time_grows_with_the_length_alone(unit: str, head: str) -> None:
    def seconds(times: int) -> float:
        line = head + unit * times
        tries = []
        for _ in range(3):
            started_s = time.process_time()
            parse(line)
            tries.append(time.process_time() - started_s)
        return min(tries)

    assert seconds(40_000) < 20 * seconds(4_000) + 0.05  # quadratic: 100 times
