"""The parameters of camera_node."""

from __future__ import annotations

from dataclasses import dataclass

from perf_inference.camera.source import Asked
from perf_inference.nodes.ros.parameters import ManagedParameters, parameter


@dataclass(frozen=True)
class CameraParameters(ManagedParameters):
    """Parameters of camera_node."""

    source: str = parameter(
        "0",
        "a device (0, /dev/v4l/by-id/...), a video file, a folder of images, an address (rtsp://, http://) or a "
        "GStreamer pipeline (... ! appsink); ${NAME} is a variable of the environment, for passwords",
    )
    rate: float = parameter(
        0.0, "images per second that are published at most; of files and folders their pace; 0: as they come [Hz]",
        at_least=0, at_most=1000,
    )  # fmt: skip
    loop: bool = parameter(True, "begin a file or folder again after its end")
    exit_when_done: bool = parameter(False, "end the process after the last image of a file or folder")
    width: int = parameter(0, "asked of a device [px]; 0: as it is", at_least=0, at_most=32_768)
    height: int = parameter(0, "asked of a device [px]; 0: as it is", at_least=0, at_most=32_768)
    fps: float = parameter(0.0, "asked of a device, and what images are missed by [Hz]; 0: as its driver says",
                           at_least=0, at_most=1000)  # fmt: skip
    pixel_format: str = parameter("", "asked of a device, four letters: MJPG, YUYV; empty: as it is")
    frame_id: str = parameter("camera", "frame of the images, in their headers")
    calibration: str = parameter("", "YAML file of camera_calibration, for camera_info; empty: none is published")
    jpeg_quality: int = parameter(90, "of image/compressed", at_least=1, at_most=100)
    timeout_s: float = parameter(5.0, "an address that does not answer for so long is opened again [s]",
                                 at_least=0.1, at_most=600)  # fmt: skip
    reconnect_max_s: float = parameter(10.0, "longest wait between two tries to open what is gone [s]",
                                       at_least=0.5, at_most=3600)  # fmt: skip

    def asked(self) -> Asked:
        """Return what a device is asked for."""
        return Asked(self.width, self.height, self.fps, self.pixel_format)
