"""`perf-inference compare` on real processes and real files: its words, its status, and what stays after Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import Process, wait_until

from perf_inference.bench.compare.command import Command, RunFailedError, needs_shell
from perf_inference.bench.compare.result_files import read_results
from perf_inference.cli import main
from perf_inference.errors import RecordingError

PY = f"{sys.executable} -I -S"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def script(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return f"{PY} {folder / name}"


@pytest.mark.slow
def test_figures_that_commands_print_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = "import os\nfor i in range(5): print('took', {} + i % 3 + os.getpid() % 7 / 100, 'ms')\n"
    base, head = (script(tmp_path, f"{ms}.py", printed.format(ms)) for ms in (100, 120))
    files = {kind: tmp_path / f"result.{kind}" for kind in ("json", "html", "markdown")}
    flags = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    pattern = ["--pattern", r"took ([0-9.]+) ms", "--pairs", "10"]
    assert main(["compare", base, head, *pattern, *flags]) == 1
    said = capsys.readouterr().out
    assert "plan: 10 pairs" in said
    assert "slower: HEAD takes 1.19" in said
    records = lines(files["json"])
    assert [record["record"] for record in records[:2]] == ["benchmark", "plan"]
    samples = [record for record in records if record["record"] == "samples"]
    assert [sum(record["series"] == arm for record in samples) for arm in ("base", "control", "head")] == [20] * 3
    assert all(len(record["values"]) == 5 for record in samples)
    assert (records[-1]["record"], records[-1]["word"]) == ("result", "slower")
    page = files["html"].read_text()
    assert page.count("<svg") >= 4  # three distributions, the runs over time, and what is known of the machine
    assert "http" not in page.replace("http-equiv", "")
    assert "# compare" in files["markdown"].read_text()
    rates = ["--pattern", r"took ([0-9.]+) ms", "--rate", "--pairs", "10"]
    assert main(["compare", head, base, *rates]) == 1


@pytest.mark.slow
def test_what_cannot_be_compared_is_void_or_wrong_usage_and_never_slower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = script(tmp_path, "good.py", "print(1)"), script(tmp_path, "bad.py", "raise SystemExit('no camera')")
    late = script(tmp_path, "late.py", "import time; time.sleep(60)")
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("1\n2\n3\n")

    def said(*arguments: str) -> tuple[int, str]:
        status = main(["compare", *arguments])
        both = capsys.readouterr()
        return status, both.out + both.err

    status, words = said(good, bad)
    assert (status, "with status 1: no camera" in words) == (3, True)
    assert said(good, late, "--timeout", "0.5")[0] == 3
    assert said(good, good, "--pattern", "([a-z]+)")[0] == 3
    for arguments, words in (
        ((good, "no_such_program --x"), "must be a result file that is there, or a command line"),
        ((good, str(numbers)), "both"),
        ((good, good, "--pairs", "3"), "--pairs"),
        ((good, good, "--tolerance", "-1"), "--tolerance"),
        ((good, good, "--pattern", "("), "regular expression"),
        ((good, good, "--pattern", "x"), "group"),
        ((good, good, "--rate"), "--pattern"),
        ((good, good, "--json", str(tmp_path)), "--json"),
        ((good, good, "--json", str(numbers)), "no benchmark has written it"),
        ((good, good, "--html", str(numbers)), "is no report"),
    ):
        status, err = said(*arguments)
        assert status == 2, (arguments, err)
        assert words in err
    assert numbers.read_text() == "1\n2\n3\n"


def test_a_shell_is_taken_by_both_arms_or_by_none(tmp_path: Path) -> None:
    lines = ("sleep 1", "A=1 sleep 1", "echo a | cat", "cat *.txt", "python -m a --b=c")
    assert [needs_shell(line) for line in lines] == [
        False, True, True, True, False,
    ]  # fmt: skip
    (tmp_path / "a b.txt").write_text("took 3 ms")
    pattern = re.compile(r"took ([0-9.]+) ms")
    for shell in (False, True):
        assert Command(f"cat '{tmp_path}/a b.txt'", pattern, shell=shell).run().figures == (3.0,)


@pytest.mark.slow
def test_a_run_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    line = f"{PY} -c \"import time\nwhile True: open('{mark}', 'a').write('x'); time.sleep(0.01)\" & sleep 60"
    with pytest.raises(RunFailedError, match=r"had not ended after 1 s"):
        Command(line, timeout_s=1.0).run()
    size = mark.stat().st_size
    Command("sleep 0.2").run()
    assert mark.stat().st_size - size <= 1


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, start_command: Callable[..., Process]) -> None:
    result = tmp_path / "c.jsonl"
    compare = start_command("compare", "sleep 0.05", "sleep 0.06", "--pairs", "1000", "--json", str(result))
    wait_until(lambda: result.exists() and result.read_text().count('"samples"') > 8, 60)
    compare.send(signal.SIGINT)
    assert compare.wait(30) == 130
    assert "of 1000 pairs: no verdict" in compare.output()
    records = lines(result)
    assert records[-1]["record"] == "result"
    assert sum(record["record"] == "samples" for record in records) > 8


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def files_of(folder: Path, kind: str, times_ms: Sequence[float], name: str) -> Path:
    """Write the same times as another tool would."""
    seconds = [value / 1e3 for value in times_ms]
    if kind == "hyperfine":
        return write(folder / f"{name}.json", {"results": [{"command": name, "times": seconds}]})
    if kind == "pyperf":
        runs = [{"values": [value]} for value in seconds]
        return write(folder / f"{name}.json", {"benchmarks": [{"metadata": {"name": "b"}, "runs": runs}]})
    if kind == "pytest-benchmark":
        benchmark = {"name": "b", "fullname": "b", "stats": {"data": seconds}}
        return write(folder / f"{name}.json", {"machine_info": {"cpu": {}}, "benchmarks": [benchmark]})
    if kind == "google":
        each = [{"name": "b", "run_type": "iteration", "real_time": v, "time_unit": "ms"} for v in times_ms]
        return write(folder / f"{name}.json", {"context": {"num_cpus": 2}, "benchmarks": each})
    if kind == "run":
        run = folder / name
        run.mkdir()
        records = [{"node": "/yolo_node", "seq": i, "received_ns": i, "total_ms": v} for i, v in enumerate(times_ms)]
        write(run / "performance_timings_1.jsonl", "".join(json.dumps(record) + "\n" for record in records))
        return run
    return write(folder / f"{name}.txt", "\n".join(map(str, times_ms)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hyperfine", "pyperf", "pytest-benchmark", "google", "run", "numbers"])
def test_result_files_of_other_tools(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = np.random.default_rng(3)
    base, same = (list(map(float, 100 * np.exp(numbers.normal(0, 0.02, 60)))) for _ in range(2))
    slow = [1.3 * value for value in same]
    paths = [
        str(files_of(tmp_path, kind, times, name)) for name, times in (("base", base), ("same", same), ("slow", slow))
    ]
    assert main(["compare", paths[0], paths[1]]) == 0
    assert main(["compare", paths[0], paths[2]]) == 1
    assert "without a control arm" in capsys.readouterr().out
    assert sum(map(len, *read_results(Path(paths[0])).series.values())) == 60


def test_unlike_machines_refuse_and_unreadable_files_say_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def own(name: str, processor: str) -> Path:
        head = {"record": "benchmark", "format": "perf_inference.bench/1", "bench": "gap",
                "machine": {"processor": processor}}  # fmt: skip
        samples = [{"record": "samples", "series": "a", "block": i, "unit": "ms", "values": [10 + i % 3]}
                   for i in range(30)]  # fmt: skip
        return write(tmp_path / name, "\n".join(map(json.dumps, [head, *samples])))

    one, other, third = own("1.jsonl", "A"), own("2.jsonl", "B"), own("3.jsonl", "A")
    assert main(["compare", str(one), str(other)]) == 3
    assert "unlike machines (processor: A and B)" in capsys.readouterr().err
    assert main(["compare", str(one), str(third)]) == 0
    empty = write(tmp_path / "none.json", {"results": [{"command": "x"}]})
    damaged = write(tmp_path / "damaged.json", {"context": {}, "benchmarks": [{}]})
    unknown = write(tmp_path / "unknown.json", {"a": 1})
    for path, words in ((empty, "no raw"), (damaged, "is damaged"), (unknown, "must be a result of")):
        with pytest.raises(RecordingError, match=words):
            read_results(path)
        assert main(["compare", str(path), str(one)]) == 2


@pytest.mark.long
def test_compare_on_this_machine(tmp_path: Path) -> None:
    """`make prove PROVE=compare_on_this_machine`: 20 real comparisons each with itself, and with one 30 % slower."""
    work = "import sys\nprint(sum(map(float, range(int(sys.argv[1])))))\n"
    base = script(tmp_path, "work.py", work) + " 400000"
    slower = base.replace("400000", "560000")
    itself = [main(["compare", base, base]) for _ in range(20)]
    other = [main(["compare", base, slower]) for _ in range(20)]
    print(f"against itself: {itself}; against one that is slower: {other}")
    assert itself.count(1) == 0
    assert itself.count(3) <= 1
    assert other.count(1) >= 19
