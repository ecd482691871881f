"""The classes of message types that somebody else names: who publishes a topic, who wrote a recording.

To import a module is to run it. So a name only chooses among the message packages that are installed: those which the
ament index lists, from the folders of Python modules below the prefixes of that index.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rclpy.type_support import check_for_type_support

from perf_inference.errors import ConfigError, in_one_line
from perf_inference.printable import shown

_TYPE = re.compile(r"([a-zA-Z][a-zA-Z0-9_]*)/(?:(msg|srv|action)/)?([a-zA-Z][a-zA-Z0-9_]*)")
_LONGEST_NAME = 255  # of a file, and so of a module
_INDEX = Path("share", "ament_index", "resource_index", "packages")
_OF_MODULES = {"site-packages", "dist-packages"}


def message_class(name: str) -> Any:
    """Return the class of a message type (`sensor_msgs/msg/Imu`).

    Raises:
        ConfigError: no message type's name, its package is not installed, has no such message, or cannot be imported.
    """
    parts = _TYPE.fullmatch(name)
    if parts is None or len(name) > _LONGEST_NAME:
        raise ConfigError(f"a message type must be named like sensor_msgs/msg/Imu, got '{shown(name)}'")
    package, kind, message = parts[1], parts[2] or "msg", parts[3]
    full = f"{package}/{kind}/{message}"
    absent = f"message type {full} is not installed here; install or source the package {package}"
    prefixes = list(_prefixes())
    if not any((prefix / _INDEX / package).is_file() for prefix in prefixes):
        raise ConfigError(absent)
    try:
        spec = importlib.util.find_spec(package)  # of a name without a dot: nothing is imported
        if spec is None or spec.origin is None:
            raise ConfigError(absent)
        folder = Path(spec.origin).parent
        if not any(_below(prefix, folder) for prefix in prefixes):
            raise ConfigError(
                f"message type {full} is not installed here: '{shown(folder)}', where Python finds {package}, is in "
                "none of the prefixes of the ament index; source the workspace that has it"
            )
        if not (folder / kind / "__init__.py").is_file():
            raise ConfigError(absent)
        return _class(package, kind, message)
    except ConfigError:
        raise
    except AttributeError as error:
        raise ConfigError(absent) from error
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise ConfigError(
            f"message type {full} cannot be imported ({type(error).__name__}: {shown(in_one_line(error))}); build or "
            f"install the package {package} again"
        ) from error


def _class(package: str, kind: str, message: str) -> Any:
    module = importlib.import_module(f"{package}.{kind}")
    if not hasattr(module, message):  # SetBool_Event is only in SetBool's own module before Jazzy
        module = sys.modules[getattr(module, message.split("_")[0]).__module__]
    found = getattr(module, message)
    check_for_type_support(found)
    return found


def _prefixes() -> Iterator[Path]:
    """Yield the prefixes of the ament index, and those of the wheels, which set no AMENT_PREFIX_PATH."""
    sourced = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    own = [sys.prefix, sysconfig.get_path("data"), *([site.getuserbase()] if site.ENABLE_USER_SITE else [])]
    yield from (Path(prefix) for prefix in dict.fromkeys([*sourced, *own]) if os.path.isabs(prefix))


def _below(prefix: Path, folder: Path) -> bool:
    """Return whether it is one of the prefix' folders of modules, as written or with links followed."""
    for below, above in ((folder, prefix), (folder.resolve(), prefix.resolve())):
        if below.is_relative_to(above) and _OF_MODULES & set(below.relative_to(above).parts):
            return True
    return False
