"""A camera without a ROS driver: a device, a video file, a folder of images, an address or a GStreamer pipeline.

    open ── grab ─ stamp ─ decode into the message ─ image, image/compressed, camera_info
     └────── what is gone is opened again, with waits that grow

An image's stamp is when it was taken: the driver's own time where V4L2 tells it, else when the driver had it.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from typing import Any

from rclpy.time import Time

from perf_inference.camera.address import has_secrets
from perf_inference.camera.calibration import read_calibration
from perf_inference.camera.camera import Camera, State
from perf_inference.camera.choose import open_source
from perf_inference.camera.source import DEVICE, Source
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.heartbeat import Heartbeat, InputState
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.camera.outlet import Outlet
from perf_inference.nodes.camera.parameters import CameraParameters
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import OK
from perf_inference.nodes.reports.reporter import Report
from perf_inference.nodes.ros import runner
from perf_inference.printable import without_secrets

_END_S = 0.4
_SILENT_S = 1.0


class CameraNode(ManagedNode):
    """source -> image, image/compressed, camera_info."""

    def __init__(self, name: str = "camera_node") -> None:
        super().__init__(name, CameraParameters)
        self._thread: threading.Thread | None = None
        self._camera: Camera | None = None

    def configure(self) -> None:
        p: CameraParameters = self.parameters
        calibration = read_calibration(p.calibration) if p.calibration else None
        self._camera = self._new_camera()
        source = self._camera.source
        self._outlet = Outlet(self, p.frame_id, calibration, p.jpeg_quality)
        self._publish_ms = 0.0
        self.at_clean_up(self._join)
        if has_secrets(p.source):
            self.get_logger().warning(
                "source has a password or key in it, and every node in the domain can read this parameter; put it into "
                "a variable of the environment, and ${NAME} into source"
            )
        self.get_logger().info(f"{source.name} ({source.kind}) is published on {self._outlet.topic}")

    def activate(self) -> None:
        if self._source_of_now().is_stopped:
            self._camera = self._new_camera()
        name, camera = f"{self.get_name()} capture", self._source_of_now()
        self._thread = threading.Thread(target=self._work, args=(camera,), name=name, daemon=True)
        self._thread.start()

    def deactivate(self) -> Work:
        self.stop()
        yield self._join

    def listen(self, on: bool) -> None:
        """It has no inputs but the camera."""

    def what_it_is(self) -> dict[str, Scalar]:
        return {"source": without_secrets(self.started_as.source)}

    def stop(self) -> None:
        if self._camera is not None:
            self._camera.stop()

    def _join(self) -> None:
        """Wait for the thread (any thread); a driver that does not return is left behind."""
        self.stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_END_S)

    def _source_of_now(self) -> Camera:
        assert self._camera is not None
        return self._camera

    def _new_camera(self) -> Camera:
        p: CameraParameters = self.parameters
        source = open_source(p.source, p.asked(), p.timeout_s)
        return Camera(
            source,
            self._take,
            self._say,
            partial(faults_of(self).refused, f"an image of {source.name}"),
            rate=p.rate,
            expected_hz=p.fps,
            loop=p.loop,
            longest_wait_s=p.reconnect_max_s,
        )

    def report(self) -> Report:
        """Return the state of the camera, its format and what became of its images."""
        camera = self._source_of_now()
        state, source = camera.state(), camera.source
        problem = self._problem(state)
        promised_hz = camera.promised_hz()
        ledger = camera.ledger.snapshot()
        seen = InputState(
            ledger=ledger.as_dict(),
            topic=source.name,
            problem=problem or None,
            age_s=None if state.age_s is None else round(state.age_s, 3),
            lost_unknown=None if promised_hz else "nobody says at what rate it sends; give fps",
            figures={"frame_rate_node": state.rate_hz, "expected_frequency": promised_hz},
        )
        values: dict[str, Scalar] = {
            "source": source.name,
            "kind": source.kind,
            "state": state.what,
            "format": "" if state.format is None else str(state.format),
            "driver": "" if state.format is None else state.format.driver,
            "pixel_format": "" if state.format is None else state.format.pixels,
            "width": None if state.format is None else state.format.width_px,
            "height": None if state.format is None else state.format.height_px,
            "fps": None if state.format is None else state.format.rate_hz,
            "reconnects": state.reconnects,
            "failed_opens": state.failed_opens,
            "laps": state.laps,
            "late": state.late,
            "taken_to_published_ms": round(self._publish_ms, 3),
            **{f"published.{name}": count for name, count in self._outlet.published.items()},
        }
        said = Heartbeat(inputs={"camera": seen}, others=values)
        return Report(OK, state.what, said.as_values()).with_trouble(problem or self._other_trouble(state))

    def _problem(self, state: State) -> str:
        """Return one sentence where no images come; else nothing."""
        if state.what == "lost":
            tries = f"it is tried again in {state.next_try_s or 0:.1f} s"
            return f"lost for {state.lost_s or 0:.1f} s: {state.why}; {tries}"
        if state.what != "running":
            return ""
        camera = self._source_of_now()
        period_s = 1 / (camera.promised_hz() or 1 / _SILENT_S)
        if state.age_s is not None and state.age_s > max(_SILENT_S, 5 * period_s):
            return f"nothing from {camera.source.name} for {state.age_s:.1f} s"
        return ""

    def _other_trouble(self, state: State) -> str:
        differs = "" if state.format is None else self.parameters.asked().differs(state.format)
        return self._outlet.problem or (differs if self._source_of_now().source.kind == DEVICE else "")

    def _work(self, camera: Camera) -> None:
        """Read the camera (its thread)."""
        finished = False
        with faults_of(self).watching("the camera"):
            finished = camera.run()
        if not camera.is_stopped and not finished:  # an error that nobody has foreseen
            self.exit_status = 1
            os.kill(os.getpid(), signal.SIGINT)
        elif finished:
            self.get_logger().info(f"finished: {camera.ledger.snapshot().received} images")
            if self.parameters.exit_when_done:
                self.has_finished = True
                os.kill(os.getpid(), signal.SIGINT)

    def _take(self, source: Source, taken_ns: int) -> bool:
        """Publish the image that was grabbed, with the stamp of when it was taken."""
        taken = self._outlet.take(source, self._stamp(taken_ns))
        if taken:
            self._publish_ms = (CLOCKS.monotonic_ns() - taken_ns) / 1e6
        return taken

    def _stamp(self, taken_ns: int) -> Any:
        ago_ns = CLOCKS.monotonic_ns() - taken_ns
        return Time(nanoseconds=max(0, self.get_clock().now().nanoseconds - ago_ns)).to_msg()  # 0: no /clock yet

    def _say(self, said: str, is_fault: bool) -> None:
        log = self.get_logger()
        if is_fault:
            log.warning(said)
        else:
            log.info(said)


def main() -> None:
    """Run the node."""
    runner.main(CameraNode)


if __name__ == "__main__":
    main()
