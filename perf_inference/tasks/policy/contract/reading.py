"""Takes a YAML mapping apart: each key once, each value of its kind; an error has file, key and what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from perf_inference.errors import ConfigError

T = TypeVar("T")
_MOST = 1000  # values of a list
_REQUIRED = object()


def shown(value: Any) -> str:
    """Return a value for a message, short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


class Section:
    """One mapping of a file, read key by key; `end` refuses what nobody asked for."""

    def __init__(self, where: str, path: str, value: Any) -> None:
        """Begin with a mapping.

        Args:
            where: the file, for messages.
            path: of the mapping in it (`observations[0]`); empty: the whole.

        Raises:
            ConfigError: it is no mapping.
        """
        self.where, self.path = where, path
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{where}: {path or 'a contract'} must be a mapping of keys to values, got {shown(value)}"
            )
        self._values = dict(value)
        self._known: list[str] = []

    def fail(self, key: str, allowed: str, got: Any) -> ConfigError:
        """Return the error of a key."""
        return ConfigError(f"{self.where}: {self.at(key)} must be {allowed}, got {shown(got)}")

    def refused(self, key: str, why: str) -> ConfigError:
        """Return the error of a key that does not go with the others."""
        return ConfigError(f"{self.where}: {self.at(key)} {why}")

    def at(self, key: str) -> str:
        """Return a key's path in the file."""
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Return whether the key is there with a value."""
        return self._values.get(key) is not None

    def take(self, key: str, allowed: str, convert: Callable[[Any], T], default: Any = _REQUIRED) -> Any:
        """Return a key's value, or the default where it is not there; `convert` raises ValueError or TypeError."""
        self._known.append(key)
        value = self._values.get(key)
        if value is None:
            if default is _REQUIRED:
                raise ConfigError(f"{self.where}: {self.at(key)} is missing; it must be {allowed}")
            return default
        try:
            return convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise self.fail(key, allowed, value) from error

    def text(self, key: str, default: Any = _REQUIRED, allowed: str = "a text") -> Any:
        return self.take(key, allowed, _text, default)

    def choice(self, key: str, choices: Collection[str], default: Any = _REQUIRED) -> Any:
        def chosen(value: Any) -> str:
            if value not in choices:
                raise ValueError
            return str(value)

        return self.take(key, f"one of {', '.join(choices)}", chosen, default)

    def flag(self, key: str, default: bool) -> bool:
        def converted(value: Any) -> bool:
            if not isinstance(value, bool):
                raise ValueError
            return value

        return bool(self.take(key, "true or false", converted, default))

    def number(self, key: str, default: Any = _REQUIRED, above: float | None = None, least: float | None = None,
               most: float = math.inf) -> Any:  # fmt: skip
        def converted(value: Any) -> float:
            number_ = finite(value)
            if (above is not None and number_ <= above) or (least is not None and number_ < least) or number_ > most:
                raise ValueError
            return number_

        allowed = ["a number"]
        if above is not None or least is not None:
            allowed[0] += f" above {above:g}" if above is not None else f" of at least {least:g}"
        if most < math.inf:
            allowed.append(f"at most {most:g}")
        return self.take(key, " and ".join(allowed), converted, default)

    def whole(self, key: str, default: Any = _REQUIRED, least: int = 0, most: int = 1_000_000) -> Any:
        def converted(value: Any) -> int:
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ValueError
            return value

        return self.take(key, f"a whole number from {least} to {most}", converted, default)

    def texts(self, key: str, default: Any = _REQUIRED) -> Any:
        def converted(value: Any) -> tuple[str, ...]:
            items = [value] if isinstance(value, str) else value
            if not isinstance(items, list) or not 0 < len(items) <= _MOST or len(set(map(_text, items))) != len(items):
                raise ValueError
            return tuple(items)

        return self.take(key, "a list of different texts", converted, default)

    def numbers(self, key: str, default: Any = _REQUIRED, length: int | None = None, infinite: bool = False) -> Any:
        """Return one number or a list of numbers as a tuple; a single one stands for all.

        Args:
            infinite: .inf is allowed, for a bound that is none.
        """

        def converted(value: Any) -> tuple[float, ...]:
            items = value if isinstance(value, list) else [value]
            if not 0 < len(items) <= _MOST or (length and len(items) not in (1, length)):
                raise ValueError
            numbers_ = tuple(_number(item) for item in items)
            if any(math.isnan(n) or (math.isinf(n) and not infinite) for n in numbers_):
                raise ValueError
            return numbers_

        count = f"a number or a list of {length} numbers" if length else "a number or a list of numbers"
        return self.take(key, count, converted, default)

    def section(self, key: str) -> Section | None:
        """Return a mapping within, or None where it is not there."""
        self._known.append(key)
        value = self._values.get(key)
        return None if value is None else Section(self.where, self.at(key), value)

    def sections(self, key: str, required: bool) -> list[Section]:
        """Return a list of mappings."""
        items = self.take(key, "a list of mappings", _listed, _REQUIRED if required else [])
        return [Section(self.where, f"{self.at(key)}[{i}]", item) for i, item in enumerate(items)]

    def raw(self, key: str) -> Any:
        """Return the value as it is; None: it is not there."""
        self._known.append(key)
        return self._values.get(key)

    def end(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                near = difflib.get_close_matches(str(key), self._known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(dict.fromkeys(self._known))}"
                raise ConfigError(f"{self.where}: {self.at(str(key))} is no key of a contract; {hint}")


def finite(value: Any) -> float:
    """Return a finite number.

    Raises:
        ValueError: it is none; a bool and a text are none either.
    """
    number = _number(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST:
        raise ValueError
    return value
