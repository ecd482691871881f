"""The library openvino, kept from reporting its use: the only import of it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

# On import, openvino writes a client id under ~/intel and tells Google Analytics of it, unless the package that does so
# cannot be imported; then it takes a stub of its own in its place. A robot's engine sends nothing and asks nobody.
if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

openvino: Any = importlib.import_module("openvino")
