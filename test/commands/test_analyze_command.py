"""perf-inference analyze: what it prints, what it follows, and the report it writes."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest
from support.processes import Process, wait_until
from support.runs import NAME, append, assert_agrees, timing, write, write_diagnostics

from perf_inference import cli
from perf_inference.errors import EX_CONFIG, RecordingError
from perf_inference.report.page import check_page

Start = Callable[..., Process]
VOID = {"meta", "path", "br"}
HOSTILE = "</style><script>alert(1)</script>\"'&\x1b[31m\n\u202e"


def small_run(directory: Path, node: str = "policy_node") -> Path:
    """Write a run whose figures are easy to know: infer is 1, 2 ... 12 ms, 100 ms apart."""
    write(directory / NAME, [
        timing(n, 100 * n, node=node, infer_ms=float(n), latency_ms=n + 10.0, robot_fill=1, dropped_before=n == 3 and 2)
        for n in range(1, 13)
    ])  # fmt: skip
    window = {"cpu_mhz_min": 2000.0, "cpu_mhz_mean": 2100.0, "cpu_mhz_max": 2200.0, "power_w": 12.5,
              "power_source": "VDD_IN", "temperature_max_degc": 61.0}  # fmt: skip
    ledger = {"image": {"received": 14, "processed": 12, "replaced": 2, "lost_before": 1, "residual": 0}}
    summary = {"nodes": {node: {"counted": 12, "ledger": ledger, "machine": window}}}
    (directory / "performance_summary_20260102_030405.json").write_bytes(orjson.dumps(summary))
    session = {"start_time": "20260102_030405", "host": {"hostname": "orin", "cores": 8}, "software": {"numpy": "2"},
               "parameters": {"topics": ["all"]}, "counts": {"records": 40, "dropped": 0, "failed": 0,
               "topics": {"/imu": {"type": "sensor_msgs/msg/Imu", "records": 40, "dropped": 0}}}}  # fmt: skip
    (directory / "session.json").write_bytes(orjson.dumps(session))
    return directory


# --- what it prints


def test_the_summary_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["analyze", str(small_run(tmp_path))]) == 0
    out = capsys.readouterr().out
    assert "total actions 12, elapsed 1.100 s, average 10.00 Hz\n" in out
    assert "lines: 12 read, 12 used, 0 damaged, 0 foreign, none torn\n" in out
    assert "recorder: 40 records, 0 dropped, 0 failed" in out
    assert "policy_node (policy fp32 on cpu): 12 inferences in 1.100 s, 10.000 Hz\n" in out
    assert "drops 2; lost before the node: image 1; timings missing: 0; ledger's residual 0\n" in out
    assert "measured with CPU at 2100 MHz (2000 to 2200), 12.5 W (VDD_IN), 61 degC at most\n" in out
    assert "ms               n    mean     p50     p90     p99     min     max" in out
    assert "infer           12   6.500   6.000       -       -   1.000  12.000" in out
    assert "latency         12  16.500  16.000       -       -  11.000  22.000" in out
    assert max(map(len, out.splitlines())) <= 120
    assert max(len(line) for line in out.splitlines() if re.match(r" +(ms|infer|latency) ", line)) <= 80


def test_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["analyze", "--json", str(small_run(tmp_path) / NAME)]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["total_actions"], found["elapsed_s"], found["average_hz"], found["drops"]) == (12, 1.1, 10.0, 2)
    node = found["nodes"]["policy_node"]
    assert (node["stages_ms"]["infer"]["p50"], node["latency_ms"]["max"], node["lost_before"]) == (6.0, 22.0, 1)
    assert found["lines"] == {"lines": 12, "records": 12, "damaged": 0, "foreign": 0, "torn": 0}


def test_a_segment_of_topics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_diagnostics(tmp_path / "topics_1.jsonl", "nested")
    assert cli.main(["analyze", str(tmp_path / "topics_1.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "3 messages of 1 topic in 1.000 s, 0 missing by seq, closed in order\n" in out
    assert "/diagnostics (diagnostic_msgs/msg/DiagnosticArray): 3 messages, 2.00 Hz\n" in out
    assert cli.main(["analyze", "--json", str(tmp_path / "topics_1.jsonl")]) == 0
    assert orjson.loads(capsys.readouterr().out)["topics"]["/diagnostics"]["hz"] == 2.0


def test_what_a_file_says_is_not_obeyed_by_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_run(tmp_path, HOSTILE)
    assert cli.main(["analyze", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[31m\\n\\u202e" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere is not there"),
        (["."], ". is no run, but holds some: give one of its 1, such as run"),
        (["foreign.jsonl"], "foreign.jsonl is no recording that can be analysed"),
        ([NAME], "has no inference: of its 2 lines 1 are damaged and 1 are no timings"),
        (["run", "--html", "missing/report.html"], "--html must name a file in a directory that is there"),
        (["run", "--html", "run/session.json"], "is there and is no report; choose another name"),
        (["topics_1.jsonl", "--html", "report.html"], "--html is made of a run's timings"),
    ],
)
def test_an_error_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    small_run(tmp_path / "run")
    (tmp_path / "foreign.jsonl").write_text("a\nb\n")
    write_diagnostics(tmp_path / "topics_1.jsonl", "old")
    if arguments == [NAME]:
        (tmp_path / NAME).write_text('{"a":1}\nb\n')
    assert cli.main(["analyze", *arguments]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_it_needs_no_ros(tmp_path: Path) -> None:
    """The figures are looked at where there is none: rclpy cannot be found here."""
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'rclpy' else find(name, *a)\n"
        "from perf_inference.cli import main\n"
        "status = main(sys.argv[1:]); print(status, 'rclpy' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.check_output([*command, "analyze", str(small_run(tmp_path))], text=True).endswith("\n0 False\n")
    assert subprocess.check_output([*command, "demo"], stderr=subprocess.DEVNULL, text=True) == f"{EX_CONFIG} False\n"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    arguments = [
        sys.executable,
        "-m",
        "perf_inference.cli",
        "analyze",
        small_run(tmp_path),
        "--html",
        tmp_path / "r.html",
    ]
    command = shlex.join(map(str, arguments))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{command} | true"], capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "r.html").is_file()


# --- a run that is being written


def test_following_a_run_that_is_written(start_command: Start, tmp_path: Path) -> None:
    follow = start_command("analyze", "--follow", str(tmp_path), "--html", str(tmp_path / "report.html"))
    follow.wait_for("waiting for the first inference")
    path = write(tmp_path / NAME, [timing(n, 100 * n, latency_ms=float(n)) for n in range(1, 6)])
    follow.wait_for("policy_node n 5 10.00 Hz p50 - max 5.000 ms drops 0")
    line = orjson.dumps(timing(6, 600, latency_ms=60.0)) + b"\n"
    append(path, line[:30])
    append(path, line[30:])
    follow.wait_for("policy_node n 6 10.00 Hz p50 - max 60.000 ms")
    write(tmp_path / "performance_timings_20260102_040000.jsonl", [timing(1, 9000, node="yolo_node")])
    follow.wait_for("yolo_node n 1")
    append(path, b'{"node":"policy_node","seq":7,')
    assert follow.stop(signal.SIGINT) == 0
    assert "7 read, 7 used, 0 damaged, 0 foreign, 1 torn at the end" in follow.output()
    assert "latency          6  12.500" in follow.output()
    assert "yolo_node" in (tmp_path / "report.html").read_text()
    assert "Traceback" not in follow.output()


def test_following_what_never_comes_ends_well(start_command: Start, tmp_path: Path) -> None:
    follow = start_command("analyze", "--follow", str(tmp_path))
    follow.wait_for("waiting for the first inference")
    assert follow.stop(signal.SIGTERM) == 0
    assert ": 0 nodes" in follow.output()


def test_following_as_json_prints_the_last_state_only(start_command: Start, tmp_path: Path) -> None:
    small_run(tmp_path)
    follow = start_command("analyze", "--follow", "--json", str(tmp_path))
    assert wait_until(lambda: _opened(follow.pid, tmp_path)), "it never installed its signal handler"
    assert follow.stop(signal.SIGINT) == 0
    assert orjson.loads(follow.output())["nodes"].keys() <= {"policy_node"}


def _opened(pid: int, directory: Path) -> bool:
    """Return whether the process catches SIGINT by now."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)  # type: ignore[index]
    return bool(caught & (1 << (signal.SIGTERM - 1)))


@pytest.mark.slow
def test_a_terminal_has_a_table_that_lives(tmp_path: Path) -> None:
    small_run(tmp_path)
    command = [sys.executable, "-m", "perf_inference.cli", "analyze", "--follow", str(tmp_path)]
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    seen = Seen(ours)
    try:
        assert seen.until("p50 ms"), seen.text
        assert seen.until("policy_node"), seen.text
        append(tmp_path / NAME, orjson.dumps(timing(13, 1300, latency_ms=777.0)) + b"\n")
        assert seen.until("777.000"), seen.text
        process.send_signal(signal.SIGINT)
        assert seen.until("a percentile (nearest rank, exact)"), seen.text
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


class Seen:
    """What a terminal was sent."""

    def __init__(self, fd: int) -> None:
        self._fd, self.text = fd, ""

    def until(self, words: str, timeout_s: float = 20.0) -> bool:
        end = time.monotonic() + timeout_s
        while words not in self.text and time.monotonic() < end:
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self._fd, 1 << 16).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
        return words in self.text


@pytest.mark.long
def test_a_real_run_while_and_after_it_is_written(
    start_command: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rclpy")
    monkeypatch.chdir(tmp_path)
    demo = start_command("demo", "--duration", "60")
    assert wait_until(lambda: list(tmp_path.glob(f"runs/*/{NAME[:20]}*")), 30), demo.output()
    (directory,) = tmp_path.glob("runs/*")
    follow = start_command("analyze", "--follow", str(directory))
    follow.wait_for("yolo_node n 1")
    assert demo.alive, "it is followed while it is written"
    assert demo.stop(signal.SIGINT) == 0, demo.output()
    assert follow.stop(signal.SIGINT) == 0

    assert cli.main(["analyze", str(directory), "--json", "--html", str(tmp_path / "report.html")]) == 0
    run = orjson.loads(capsys.readouterr().out)
    (summary,) = directory.glob("performance_summary_*.json")
    assert_agrees(run, orjson.loads(summary.read_bytes()))
    assert (run["lines"]["damaged"], run["lines"]["foreign"], run["lines"]["torn"]) == (0, 0, 0)
    assert f"total actions {run['total_actions']}, elapsed {run['elapsed_s']:.3f} s" in follow.output()
    page = Page(tmp_path / "report.html")
    assert "No clock or temperature was recorded" in page.text or "messages of /diagnostics" in page.text
    assert {"policy_node", "yolo_node"} <= set(page.headings)


# --- the report


class Page(HTMLParser):
    """A report as a browser takes it apart; whatever would leave the file is kept in `outside`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.text, self.outside, self.headings = "", list[str](), list[str]()
        self.sections, self.paths, self.tags = dict[str, str](), list[dict[str, str]](), list[str]()
        self._open: list[str] = []
        self._section = ""
        self.feed(self.source)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.outside += [value for key, value in values.items() if key in ("src", "href", "xlink:href", "action")]
        self.outside += [key for key in values if key.startswith("on")]
        if tag == "section":
            self._section = values["id"]
            self.sections[self._section] = ""
        if tag == "path":
            self.paths.append(values)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"{tag} was never opened"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._section:
            self.sections[self._section] += data
        if self._open and self._open[-1] == "h3":
            self.headings.append(data)


def report_of(directory: Path, capsys: pytest.CaptureFixture[str]) -> Page:
    path = directory / "report.html"
    assert cli.main(["analyze", str(directory), "--html", str(path)]) == 0
    assert f"report: {path}" in capsys.readouterr().out
    return Page(path)


def test_the_report_has_it_all_and_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_run(tmp_path)
    write_diagnostics(tmp_path / "topics_1.jsonl", "nested")
    page = report_of(tmp_path, capsys)
    assert list(page.sections) == ["latency", "machine", "stages", "figures", "ledger", "recorder", "about"]
    assert not page.outside
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import|//[a-z]", page.source)
    assert "default-src 'none'" in page.source
    assert "n 12, measured with CPU at 2100 MHz (2000 to 2200)" in page.sections["latency"]
    assert "drops 2" in page.sections["latency"]
    assert "max 22.000" in page.sections["latency"]
    for words in ("Clock", "MHz", "CPU mean", "Temperature", "°C", "GPU 0", "n\u202f3", "No power was recorded"):
        assert words in page.sections["machine"], words
    assert "n\u202f12 · p50\u202f6.000 · max\u202f12.000" in page.sections["stages"]
    assert "6.500" in page.sections["figures"]
    assert "received" in page.sections["ledger"]
    assert "sensor_msgs/msg/Imu" in page.sections["recorder"]
    assert "orin" in page.sections["about"]


def test_a_report_without_clocks_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / NAME, [timing(1, 0)])
    page = report_of(tmp_path, capsys)
    assert "No clock or temperature was recorded." in page.sections["machine"]
    assert "at what clock is not known" in page.text
    assert "No latency was recorded." in page.sections["latency"]
    assert "No summary file" in page.sections["ledger"]
    assert "No session.json" in page.sections["about"]


def test_names_from_files_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_run(tmp_path, HOSTILE)
    (tmp_path / "session.json").write_bytes(orjson.dumps({
        "start_time": HOSTILE, "host": {"hostname": HOSTILE, HOSTILE: HOSTILE}, "parameters": {HOSTILE: [HOSTILE]},
        "software": HOSTILE, "counts": {"last_error": HOSTILE, "topics": {HOSTILE: {"type": HOSTILE, "records": [1]}}},
    }))  # fmt: skip
    page = report_of(tmp_path, capsys)
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert not page.outside
    assert page.text.count("</style><script>alert(1)</script>\"'&\\x1b[31m\\n\\u202e") >= 10


def test_no_peak_is_lost_among_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 20,000 inferences in 500 columns: 40 to a column; one of them takes 40 times as long as the others
    write(tmp_path / NAME, [
        timing(n, 10 * n, latency_ms=200.0 if n == 12_345 else 5.0 + n % 7 / 10) for n in range(20_000)
    ])  # fmt: skip
    page = report_of(tmp_path, capsys)
    (ranges,) = (path["d"] for path in page.paths if path["class"] == "range k1")
    columns = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)", ranges)
    assert len(columns) == 500
    tops = [float(top) for _, _, top in columns]
    peak = tops.index(min(tops))
    assert float(columns[peak][0]) == pytest.approx(1000 * 12_345 / 20_000, abs=2)
    assert sorted(tops)[1] - min(tops) > 500, "half the height of the drawing above all others"
    assert "ms, log" in page.sections["latency"]
    assert "so that no peak is lost" in page.sections["latency"]
    assert (tmp_path / "report.html").stat().st_size < 200_000


def test_a_report_takes_the_place_of_a_report_only(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    small_run(tmp_path)
    for _ in range(2):
        assert cli.main(["analyze", str(tmp_path), "--html", str(report)]) == 0
    assert not list(tmp_path.glob(".report*"))
    before = (tmp_path / NAME).read_bytes()
    assert cli.main(["analyze", str(tmp_path), "--html", str(tmp_path / NAME)]) == 1
    assert (tmp_path / NAME).read_bytes() == before
    with pytest.raises(RecordingError, match="must name a file"):
        check_page(tmp_path)
    assert cli.main(["analyze", str(tmp_path), "--html", "/dev/full"]) == 1
    assert Path("/dev/full").is_char_device()
