"""The errors of this package.

    PerfInferenceError
    ├── ConfigError      the configuration is wrong: the start ends, and is not tried again
    │   └── NoRoomError  the model does not fit into the memory of its device
    ├── InputError       one message is wrong: it is counted, warned about and skipped
    ├── EngineError      the model could not be run on good input: counted, reported, the node lives
    │   └── BrokenDeviceError  an error has broken this process' CUDA for good: the node ends, and is restarted
    ├── CameraError      the camera is not there, or gives no more: it is opened again
    ├── RecordingError   a record could not be written or read
    └── CallError        another node was asked for something, and has not done it

Each message says what was expected, what came, and what to do.
"""

from __future__ import annotations

EX_CONFIG = 78
"""Exit status of a process that stopped because of its configuration (sysexits.h): not to be restarted."""


class PerfInferenceError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(PerfInferenceError):
    """The configuration is wrong; trying again would not help."""


class NoRoomError(ConfigError):
    """A model does not fit into the memory of its device; on another it may."""


class InputError(PerfInferenceError):
    """One message does not fit; the next one may."""


class EngineError(PerfInferenceError):
    """An engine failed on input that fits its specs."""


class BrokenDeviceError(EngineError):
    """An error has broken the device for this process: all that it asks of it fails from now on."""


class CameraError(PerfInferenceError):
    """A camera cannot be opened now, or is gone; it may come back."""


class RecordingError(PerfInferenceError):
    """A recording could not be written or read."""


class CallError(PerfInferenceError):
    """Another node was asked for something and is not there, has refused, or has not answered."""


def in_one_line(error: BaseException, most: int = 300) -> str:
    """Return what another library's exception says, as part of a message of ours."""
    return " ".join(str(error).split())[:most] or type(error).__name__
