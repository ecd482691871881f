"""Message classes without the generator of message classes.

Each class finds its type support by `from rosidl_generator_py import import_type_support`, and that package brings
the generator, its parser of IDL and lark along: a tenth of what the start of a bare node takes, for nothing.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE, _NEEDED = "rosidl_generator_py", "import_type_support"


class _Light(ModuleType):
    """The package as far as messages need it; whoever wants more has it loaded as it is."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module '{_PACKAGE}' has no attribute '{name}'")
        spec: Any = self.__dict__["__spec__"]
        self.__class__ = ModuleType  # type: ignore[assignment]  # once
        spec.loader.exec_module(self)
        return getattr(self, name)


def load_without_generator() -> None:
    """Stand in for the package, unless it is loaded already or is not as it is known."""
    if _PACKAGE in sys.modules:
        return
    spec: ModuleSpec | None = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.loader is None or not spec.submodule_search_locations:
        return
    light = sys.modules[_PACKAGE] = _Light(_PACKAGE)
    light.__spec__, light.__loader__, light.__package__ = spec, spec.loader, _PACKAGE
    light.__path__, light.__file__ = spec.submodule_search_locations, spec.origin
    try:
        implementation = importlib.import_module(f"{_PACKAGE}.{_NEEDED}_impl")
        setattr(light, _NEEDED, getattr(implementation, _NEEDED))
    except (ImportError, AttributeError):  # of another release
        del sys.modules[_PACKAGE]
