"""The cache of built models: what is in it, and whether it fits this machine and is this user's."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from perf_inference.doctor.finding import Finding, word
from perf_inference.errors import ConfigError
from perf_inference.model_build import cache, machine

_BUILT = "built"


def engine_cache() -> Finding:
    """Count what was built, and what of it is for another GPU, driver or processor."""
    place, entries = cache.root(), list(_entries())
    if (place / _BUILT).exists() and not cache.is_trusted(_BUILT):
        why = "what lies in another user's folder is not loaded: a model is built again at each start, or refused"
        fix = "give it to the user of the nodes, or name another by PERF_INFERENCE_CACHE:\n"
        fix += f"$ sudo chown -R $USER {word(place)}"
        return Finding("engine_cache", "warning", f"{place} belongs to another user", why, fix)
    if not entries:
        return Finding("engine_cache", "ok", f"{place} is empty: nothing was built yet")
    kinds = Counter(f"{entry['runtime']} {entry['precision']}" for entry in entries)
    size_mb = sum(entry["bytes"] for entry in entries) / 1e6
    built = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    value = f"{place}: {len(entries)} models, {size_mb:.0f} MB ({built})"
    others = [entry for entry in entries if not _fits(entry["device"])]
    if others:
        names = ", ".join(sorted({f"{entry['name']} for {entry['device']}" for entry in others})[:3])
        value += f"; {len(others)} for another device ({names})"
    return Finding("engine_cache", "ok", value)


def _entries() -> Iterator[Mapping[str, Any]]:
    for what in sorted((cache.root() / _BUILT).glob(f"*/{cache.WHAT}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # a damaged one
            said = json.loads(what.read_text(encoding="utf-8"))
            key, files = said["key"], said["files"].values()
            entry = {name: str(key[name]) for name in ("name", "runtime", "precision", "device")}
            yield {**entry, "bytes": sum(int(size) for size, _ in files)}


def _fits(device: str) -> bool:
    """Return whether a model was built for the processor or a GPU that is here."""
    if device == machine.processor():
        return True
    try:
        return any(machine.identity(f"cuda:{index}") == device.removesuffix(machine.DLA) for index in range(8))
    except ConfigError:  # there is no GPU of this number
        return False
