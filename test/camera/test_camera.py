"""Cameras: which are named, what is shown of them, their pace, and what becomes of them when they go and come back."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from support.camera_server import CameraServer, image_of, number_in
from support.processes import wait_until

from perf_inference.camera.address import has_secrets, with_environment
from perf_inference.camera.calibration import read_calibration
from perf_inference.camera.camera import Camera
from perf_inference.camera.choose import open_source
from perf_inference.camera.opencv import VideoSource
from perf_inference.camera.source import DEVICE, PIPELINE, Asked, Bgr, Format, Source, kind_of
from perf_inference.errors import CameraError, ConfigError, InputError
from perf_inference.printable import without_secrets

MS = 1_000_000


def room(shape: tuple[int, int, int]) -> Bgr:
    return np.empty(shape, np.uint8)


# what is shown -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:hunter2@10.0.0.5/stream",
        "rtsp://admin:hun/ter2@10.0.0.5:554/a@b?x=1",
        "rtsp://admin:p@hunter2@10.0.0.5/stream",
        "RTSPS://hunter2@host/",
        "http://host/video?user=me&password=hunter2&fps=5",
        "http://host/video?access_token=hunter2#x",
        "http://host/v?api-key=hunter2;sig=hunter2",
        "rtspsrc location=rtsp://u:hunter2@h/s latency=0 ! appsink",
        "rtspsrc location=rtsp://h/s user-id=me user-pw='hunter2 x' ! appsink",
        'souphttpsrc location="http://u:hunter2@h/s" user-pw = "hunter2" ! appsink',
    ],
)
def test_a_password_is_never_shown(text: str) -> None:
    shown = without_secrets(text)
    assert "hunter2" not in shown
    assert "ter2" not in shown
    assert "***" in shown
    assert has_secrets(text)


@pytest.mark.parametrize(
    "text", ["0", "/dev/video0", "http://host:8080/a/b.mjpg?fps=5", "videotestsrc ! appsink", "a@b"]
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert without_secrets(text) == text
    assert not has_secrets(text)


def test_a_password_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PATH", "hunter2/stream")
    source = open_source("rtsp://host/${CAMERA_PATH}")
    assert source.name == "rtsp://host/${CAMERA_PATH}"
    assert with_environment("a${X}b", {"X": "$1"}) == "a$1b"
    with pytest.raises(ConfigError, match="no variable NOT_THERE"):
        open_source("rtsp://u:${NOT_THERE}@host/")
    with pytest.raises(ConfigError, match=r"nothing at '/nowhere/\*\*\*|nothing at '/nowhere") as caught:
        open_source("/nowhere/${CAMERA_PATH}")
    assert "hunter2" not in str(caught.value)


def test_which_kind_a_text_names(tmp_path: Path) -> None:
    (tmp_path / "a ! b.avi").write_text("")
    kinds = {"0": "device", "/dev/video9": "device", "/dev/v4l/by-id/x": "device", str(tmp_path): "folder",
             str(tmp_path / "a ! b.avi"): "file", "rtsp://h/x": "address", "HTTP://h": "address",
             "videotestsrc ! appsink": "pipeline"}  # fmt: skip
    assert {text: kind_of(text) for text in kinds} == kinds
    for text in ("/nowhere", "/dev/shm/nowhere.mp4", "front", "file:///x", "pipe:0", "12345", "x" * 5000, "a\0b"):
        with pytest.raises(ConfigError, match="source must be a device"):
            kind_of(text)
    with pytest.raises(ConfigError, match="got nothing"):
        open_source(" ")


def test_a_pipeline_needs_an_opencv_with_gstreamer() -> None:
    has = any("GStreamer" in line and "YES" in line for line in cv2.getBuildInformation().splitlines())
    if has:
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(ConfigError, match="OpenCV with GStreamer"):
        VideoSource(PIPELINE, "x", "videotestsrc ! appsink")


# pace, rate and what is missing --------------------------------------------------------------------------------------


class Script:
    """A source that gives images at the times of a script; an error in it is raised instead."""

    def __init__(self, kind: str, *turns: list[int | Exception | None], rate_hz: float | None = None) -> None:
        self.kind, self.name = kind, "scripted"
        self.now_ns = 0
        self._turns, self._left = list(turns), list[Any]()
        self._format = Format("test", "", 4, 4, rate_hz)
        self.closed = 0

    def open(self) -> Format:
        if not self._turns:
            raise CameraError("over")
        self._left = list(self._turns.pop(0))
        if self._left and isinstance(self._left[0], CameraError):
            raise self._left.pop(0)
        return self._format

    def grab(self) -> int | None:
        turn = self._left.pop(0) if self._left else None
        if isinstance(turn, CameraError):
            raise turn
        if turn is None:
            return None
        self.now_ns = max(self.now_ns, turn)
        return self.now_ns

    def image(self, room: Callable[[tuple[int, int, int]], Bgr]) -> Bgr:
        return room((4, 4, 3))

    def close(self) -> None:
        self.closed += 1


def _played(
    source: Script, take: Callable[[Source, int], bool] | None = None, **options: Any
) -> tuple[Camera, list[int], list[str]]:
    """Run a camera to the end of its script, in the script's own time."""
    taken: list[int] = []
    said: list[str] = []

    def keep(source: Source, taken_ns: int) -> bool:
        taken.append(taken_ns // MS)
        return True

    def wait(seconds: float) -> None:
        source.now_ns += round(seconds * 1e9)
        if not source._turns and camera.state().what == "lost":
            camera.stop()

    camera = Camera(
        source, take or keep, lambda text, is_fault: said.append(text), monotonic_ns=lambda: source.now_ns, wait=wait,
        **options,
    )  # fmt: skip
    camera.run()
    return camera, taken, said


def test_a_live_camera_is_taken_at_its_rate_at_most() -> None:
    # t [ms]  0   33  66  100 133 166 200 ...   10 Hz of 30 Hz
    times = [round(number * 1e9 / 30) for number in range(31)]
    camera, taken, _ = _played(Script(DEVICE, times), rate=10.0)
    assert taken == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
    counts = camera.ledger.snapshot()
    assert (counts.received, counts.processed, counts.ignored, counts.residual) == (31, 11, 20, 0)


def test_what_a_driver_of_a_known_rate_did_not_give_is_counted() -> None:
    # t [ms]  0  100  200  -  -  500  600    10 Hz: two are missing
    times = [at * MS for at in (0, 100, 205, 500, 600)]
    camera, _, _ = _played(Script(DEVICE, times, rate_hz=10.0))
    assert camera.ledger.snapshot().lost_before == 2
    camera, _, _ = _played(Script("address", times, rate_hz=25.0))  # FFmpeg says 25 of what it does not know
    assert camera.ledger.snapshot().lost_before is None
    camera, _, _ = _played(Script("address", times, rate_hz=25.0), expected_hz=10.0)
    assert camera.ledger.snapshot().lost_before == 2


@pytest.mark.parametrize(("kind", "said_hz", "rate", "period_ms"), [
    ("file", 20.0, 0.0, 50), ("file", None, 0.0, 33), ("file", 20.0, 40.0, 25), ("folder", None, 0.0, 100),
    ("folder", None, 4.0, 250),
])  # fmt: skip
def test_files_and_folders_have_a_steady_pace_over_laps(
    kind: str, said_hz: float | None, rate: float, period_ms: int
) -> None:
    source = Script(kind, [0, 0, 0], [0, 0, 0], rate_hz=said_hz)
    camera, taken, _ = _played(source, rate=rate)
    assert [round(b - a) for a, b in pairwise(taken)] == pytest.approx([period_ms] * 5, abs=1)
    assert (camera.state().laps, camera.state().late) == (2, 0)


def test_a_delay_moves_the_grid_and_is_counted() -> None:
    # t [ms]  0  50  [--- 300 ---]  350  400: no burst after it
    source = Script("file", [0, 0, 0, 0, 0], rate_hz=20.0)

    def take(_: Source, taken_ns: int) -> bool:
        taken.append(taken_ns // MS)
        if len(taken) == 2:
            source.now_ns += 300 * MS
        return True

    taken: list[int] = []
    camera, _, _ = _played(source, take)
    assert taken == [0, 50, 350, 400, 450]
    assert camera.state().late == 1


def test_without_loop_a_file_ends() -> None:
    source = Script("file", [0, 0], [0, 0], rate_hz=20.0)
    camera, taken, _ = _played(source, loop=False)
    assert (len(taken), camera.state().what) == (2, "finished")


# gone and back -------------------------------------------------------------------------------------------------------


def test_what_is_gone_is_opened_again_with_growing_waits() -> None:
    gone = CameraError("the plug was pulled")
    source = Script(DEVICE, [0, MS, gone], [gone], [gone], [gone], [2 * MS, 3 * MS, gone], rate_hz=None)
    camera, taken, said = _played(source, longest_wait_s=2.0)
    state = camera.state()
    # 0.5 s, 1 s, 2 s, 2 s: the longest
    assert taken == [0, 1, 5501, 5501]
    assert (state.opened, state.reconnects, state.failed_opens) == (2, 1, 3)
    assert [text for text in said if "back" in text] == ["scripted is back after 5.5 s; reconnected once"]
    assert sum("the plug was pulled" in text for text in said) == 2, "it is said once a loss"
    assert source.closed >= 5
    assert camera.ledger.snapshot().residual == 0


def test_an_image_that_cannot_be_decoded_is_rejected_and_the_next_is_taken() -> None:
    source = Script(DEVICE, [0, MS, 2 * MS])

    def take(_: Source, taken_ns: int) -> bool:
        if taken_ns == MS:
            raise InputError("broken")
        return taken_ns == 0

    skipped: list[InputError] = []
    camera, _, _ = _played(source, take, skipped=skipped.append)
    counts = camera.ledger.snapshot()
    assert (counts.processed, counts.rejected, counts.ignored, counts.residual) == (1, 1, 1, 0)
    assert str(skipped[0]) == "broken"


def test_an_empty_file_is_no_endless_loop() -> None:
    camera, taken, said = _played(Script("file", [], [], rate_hz=20.0))
    assert taken == []
    assert "has no images" in said[0]
    assert camera.state().what == "lost"


@pytest.fixture
def running() -> Iterator[Callable[..., tuple[Camera, list[tuple[int, int]]]]]:
    """Run a camera on a thread; what it takes is (number in the image, monotonic)."""
    threads: list[tuple[Camera, threading.Thread]] = []

    def run(source: Source, **options: Any) -> tuple[Camera, list[tuple[int, int]]]:
        seen: list[tuple[int, int]] = []

        def take(source: Source, taken_ns: int) -> bool:
            seen.append((number_in(source.image(room)), taken_ns))
            return True

        camera = Camera(source, take, longest_wait_s=0.05, **options)
        thread = threading.Thread(target=camera.run)
        threads.append((camera, thread))
        thread.start()
        return camera, seen

    yield run
    for camera, thread in threads:
        camera.stop()
        thread.join(30)


def _video(path: Path, count: int = 5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50, (128, 128))
    assert writer.isOpened()
    for number in range(count):
        writer.write(image_of(number))
    writer.release()
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    for number in range(3):
        cv2.imwrite(str(path / f"{number + 8}.png"), image_of(number))
    (path / "9x.png").write_bytes(b"\x89PNG broken")
    (path / "notes.txt").write_text("no image")
    return path


@pytest.mark.parametrize(("make", "numbers"), [(_video, [0, 1, 2, 3, 4]), (_folder, [0, 1, 2])])
def test_a_file_and_a_folder_go_and_come_back(
    running: Callable[..., tuple[Camera, list[tuple[int, int]]]], tmp_path: Path, make: Callable[[Path], Path],
    numbers: list[int],
) -> None:  # fmt: skip
    path, away = make(tmp_path / "x.avi"), tmp_path / "away"
    source = open_source(str(path))
    camera, seen = running(source, rate=100.0)
    assert wait_until(lambda: len(seen) > 2 * len(numbers))
    assert [number for number, _ in seen[: 2 * len(numbers)]] == numbers * 2
    taken = [taken_ns for _, taken_ns in seen]
    assert taken == sorted(set(taken))
    path.rename(away)
    assert wait_until(lambda: camera.state().what == "lost")
    assert camera.state().why in (f"{path} was removed", f"{path} is not there") or "No such file" in camera.state().why
    had = len(seen)
    assert wait_until(lambda: camera.state().failed_opens > 2)
    away.rename(path)
    assert wait_until(lambda: len(seen) > had + len(numbers))
    assert camera.state().reconnects == 1
    counts = camera.ledger.snapshot()
    assert (counts.rejected > 0) is (make is _folder)
    assert counts.residual == 0


@pytest.mark.slow
def test_an_address_goes_and_comes_back_and_its_stamps_are_when_it_was_taken(
    running: Callable[..., tuple[Camera, list[tuple[int, int]]]], capsys: pytest.CaptureFixture[str]
) -> None:
    server = CameraServer()
    camera, seen = running(open_source(server.url, timeout_s=5))
    assert wait_until(lambda: len(seen) > 20)
    server.close()
    assert wait_until(lambda: camera.state().what == "lost")
    assert "gives no more images" in camera.state().why or "does not answer" in camera.state().why
    had = len(seen)
    server.open()
    assert wait_until(lambda: len(seen) > had + 20)
    assert camera.state().reconnects == 1
    camera.stop()
    server.close()
    to_system_ns = time.time_ns() - time.monotonic_ns()
    after_ms = [(taken_ns + to_system_ns - made_ns) / 1e6 for made_ns, taken_ns in seen]
    made = [made_ns for made_ns, _ in seen]
    assert made == sorted(set(made)), "each once, in their order"
    assert min(after_ms) > 0, "none before it was made"
    with capsys.disabled():
        middle = sorted(after_ms)[len(seen) // 2]
        print(f"\nfrom made to taken, of {len(seen)}: median {middle:.2f} ms, at most {max(after_ms):.1f} ms")


def test_a_device_that_is_not_there_is_an_error_to_try_again() -> None:
    source = open_source("/dev/video_that_is_not_there")
    with pytest.raises(CameraError, match="is not there, or is in use"):
        source.open()
    source.close()


# OpenCV --------------------------------------------------------------------------------------------------------------


class Driver:
    """What cv2.VideoCapture does for a V4L2 device."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.asked = arguments, dict[int, float]()
        self.taken_ms = 0.0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def getBackendName(self) -> str:  # noqa: N802
        return "V4L2"

    def set(self, which: int, value: float) -> bool:
        self.asked[which] = value
        return True

    def get(self, which: int) -> float:
        return {
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"YUYV"),
            cv2.CAP_PROP_POS_MSEC: self.taken_ms,
        }[which]

    def grab(self) -> bool:
        return True

    def release(self) -> None:
        pass


def test_a_device_is_asked_and_its_own_time_is_the_stamp() -> None:
    drivers: list[Driver] = []

    def capture(*arguments: Any) -> Driver:
        drivers.append(Driver(*arguments))
        return drivers[-1]

    asked = Asked(1280, 480, 30.0, "MJPG")
    source = VideoSource(DEVICE, "0", "0", asked, monotonic_ns=lambda: 5_000 * MS, capture=capture)
    got = source.open()
    (driver,) = drivers
    assert driver.arguments == (0, cv2.CAP_V4L2)
    size = [cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT]
    assert list(driver.asked) == [cv2.CAP_PROP_FOURCC, *size, cv2.CAP_PROP_FPS]
    assert str(got) == "YUYV 640x480 at 30 Hz by V4L2"
    assert asked.differs(got).endswith("where width 1280, pixel_format MJPG was asked for")
    assert Asked().differs(got) == ""
    stamps = []
    for said_ms in (4990.0, 0.0, 6000.0, float("nan"), 2000.0):  # before now; none; of the future; none; too old
        driver.taken_ms = said_ms
        stamps.append(source.grab())
    assert stamps == [4990 * MS, *[5000 * MS] * 4]


def test_an_image_is_decoded_where_it_is_wanted(tmp_path: Path) -> None:
    source = open_source(str(_video(tmp_path / "x.avi")))
    source.open()
    memory = np.zeros((128, 128, 3), np.uint8)
    asked: list[tuple[int, int, int]] = []

    def there(shape: tuple[int, int, int]) -> Bgr:
        asked.append(shape)
        return memory

    for number in range(3):
        source.grab()
        image = source.image(there)
        assert np.shares_memory(image, memory)
        assert number_in(memory) == number
    assert asked == [(128, 128, 3)] * 3
    source.close()


def test_a_file_that_is_no_video_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.avi").write_bytes(b"no video" * 100)
    with pytest.raises(CameraError, match="no video that OpenCV can read"):
        open_source(str(tmp_path / "x.avi")).open()
    shutil.rmtree(tmp_path)
    with pytest.raises(ConfigError, match="there is nothing"):
        open_source(str(tmp_path / "x.avi"))


# calibration ---------------------------------------------------------------------------------------------------------

GOOD = {
    "image_width": 640,
    "image_height": 480,
    "camera_name": "front",
    "camera_matrix": {"rows": 3, "cols": 3, "data": [500, 0, 320, 0, 510, 240, 0, 0, 1]},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.2, 0.001, 0.002, 0]},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {"rows": 3, "cols": 4, "data": [490, 0, 321, 0, 0, 505, 241, 0, 0, 0, 1, 0]},
}


def test_a_calibration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "front.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    read = read_calibration(f"file://{path}")
    assert (read.width_px, read.height_px, read.model, read.camera_name) == (640, 480, "plumb_bob", "front")
    assert read.k == (500, 0, 320, 0, 510, 240, 0, 0, 1)
    assert read.p[0] == 490
    least = {key: value for key, value in GOOD.items() if key not in ("rectification_matrix", "projection_matrix")}
    path.write_text(yaml.safe_dump(least))
    read = read_calibration(str(path))
    assert read.r == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert read.p == (500, 0, 320, 0, 0, 510, 240, 0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_width": 0}, "image_width must be a number of pixels"),
        ({"image_height": "480"}, "image_height"),
        ({"camera_matrix": {"rows": 3, "cols": 3, "data": [1] * 8}}, "says 3x3 and has 8"),
        ({"camera_matrix": {"rows": 3, "cols": 3, "data": [0] * 9}}, "focal lengths above 0"),
        ({"camera_matrix": {"data": [1, float("nan"), *[1] * 7]}}, "numbers"),
        ({"camera_matrix": [1] * 9}, "rows, cols and data"),
        ({"distortion_coefficients": {"rows": 1, "cols": 3, "data": [1, 2, 3]}}, "4 or 5 numbers, they are 3"),
        ({"distortion_model": "a b"}, "distortion_model"),
        ({"projection_matrix": {"rows": 3, "cols": 3, "data": [1] * 9}}, "must be 3x4"),
    ],
)
def test_what_is_no_calibration_is_refused_by_what_is_wrong(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "front.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(ConfigError, match=said):
        read_calibration(str(path))


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [", "x"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "front.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="calibration"):
        read_calibration(str(path))
    with pytest.raises(ConfigError, match="readable YAML file"):
        read_calibration(str(tmp_path / "none.yaml"))
