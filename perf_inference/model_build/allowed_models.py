"""What `model` may become while a node runs: the parameter `allowed_models`.

Whoever is on the network can set `model`. So at run time it may be an embedded name, and besides what the list says, or
without a list a file in the folder of the configured model, or a model of exactly its server. An entry is

    /models            a folder: the files that lie in it, links followed
    /models/a.onnx     a file
    grpc://host:8081   a server; with /MODEL behind it that model alone
    sha256:HEX         a file's content, wherever it lies

By its content alone goes a file that others can change, and one whose format can hold code.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perf_inference.engines.huggingface import folder
from perf_inference.engines.model_file import MODELS, embedded_models, find_model
from perf_inference.engines.remote.transport import Address
from perf_inference.engines.runtimes import RUNTIMES, SCHEMES, is_remote
from perf_inference.errors import ConfigError
from perf_inference.model_build.ownership import who_can_change
from perf_inference.printable import shown

_DATA = (".onnx", ".safetensors", ".xml")  # formats without code; pickles, plans and programs are not among them
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_PLAIN = re.compile(r"[\w/.@~+-]+|sha256:\w+", re.ASCII)  # what YAML takes for a text without quotes
_LONGEST = 4096  # PATH_MAX


@dataclass(frozen=True)
class Permit:
    """A model that may be loaded, perhaps only by its content."""

    model: str
    real: Path | None = None  # the file, links followed; None: there is nothing to be read here
    folder: Path = Path()  # where the files lie that belong to it
    in_place: bool = True
    only_if_listed: str = ""  # why its content must be listed; empty: it need not be


@dataclass(frozen=True)
class AllowedModels:
    """What a node's model may become."""

    configured: str
    listed: tuple[str, ...]  # as the user wrote it, or what counts without a list
    hashes: frozenset[str]

    @classmethod
    def of(cls, configured: str, listed: Sequence[str]) -> AllowedModels:
        """Take the parameters `model` and `allowed_models`.

        Raises:
            ConfigError: an entry that is none.
        """
        entries = tuple(entry for entry in listed if entry)
        hashes = set()
        for entry in entries:
            if entry.startswith("sha256:"):
                if (found := _HASH.fullmatch(entry)) is None:
                    raise ConfigError(f"an entry of allowed_models must be sha256: and 64 hex digits, got '{entry}'")
                hashes.add(found[1].lower())
            elif is_remote(entry):
                _server(entry)
        return cls(configured, entries or _by_default(configured), frozenset(hashes))

    def check(self, model: str) -> Permit:
        """Return under what condition the model may be loaded; no host is asked and no file read.

        Raises:
            ConfigError: it may not, with what to add to the parameters.
        """
        if len(model) > _LONGEST or not model.isprintable():
            raise ConfigError(
                f"model must be a path, a name or an address of at most {_LONGEST} printable characters, got "
                f"'{shown(model, 80)}'"
            )
        if is_remote(model):
            address = Address.of(model)
            if model != self.configured and not any(_is_at(address, entry) for entry in self.listed):
                raise ConfigError(self._refusal(model, f"{address.scheme}://{address.netloc}"))
            return Permit(model)
        if model in embedded_models():
            return Permit(model)
        if "://" in model:
            raise ConfigError(f"an address must begin with {', '.join(SCHEMES)}, got '{shown(model)}'")
        try:
            return self._file(model)
        except (OSError, ValueError, RuntimeError) as error:  # too long, a loop of links, a home of nobody
            raise ConfigError(f"model '{shown(model)}' cannot be looked up: {shown(error)}") from error

    def refuse_content(self, permit: Permit, file: Path, sha256: str, why: str) -> ConfigError:
        """Return why a file whose content is not listed may not be loaded."""
        if not permit.in_place:  # its hash would tell something of a file that is none of theirs
            return ConfigError(self._refusal(permit.model, str(file.parent)))
        return ConfigError(
            f"'{shown(file)}' may be loaded at run time only if its content is listed, for {why}; if you trust it as "
            f"it is now, start the node with {self._line(f'sha256:{sha256}')}"
        )

    def _file(self, model: str) -> Permit:
        given = Path(model).expanduser()
        if "/" not in model and not given.is_file():
            find_model(model)  # says which names there are
        real = Path(os.path.realpath(given))
        in_place = self._is_in_place(real)
        if not in_place and not self.hashes:
            raise ConfigError(self._refusal(model, str(real.parent)))
        if real.is_dir():
            return self._folder(model, real, in_place)
        suffixes = [suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes]
        if given.suffix not in suffixes:  # nothing else is read
            raise ConfigError(f"model '{shown(model)}' must end in one of {', '.join(dict.fromkeys(suffixes))}")
        if not real.is_file():
            if in_place:
                find_model(str(real))
            raise ConfigError(self._refusal(model, str(real.parent)))
        why = "it lies elsewhere" if not in_place else who_can_change(real)
        if given.suffix not in _DATA:
            why = f"a {given.suffix} file can hold code"
        if why and not self.hashes:
            raise ConfigError(
                f"'{shown(real)}' may be loaded at run time only if its content is listed, for {why}; if you trust it "
                f"as it is now, start the node with {self._line('sha256:HEX')}, HEX from: sha256sum '{shown(real)}'"
            )
        beside = _real(model, parent=True)
        return Permit(model, real, beside if beside in self._places() else real.parent, in_place, why)

    def _folder(self, model: str, real: Path, in_place: bool) -> Permit:
        """Return the condition of a Hugging Face folder: it must be in its place, and nobody else may change it."""
        if not in_place:
            raise ConfigError(self._refusal(model, str(real.parent)))
        find_model(str(real))
        for file in (real, *folder.files_of(real)):
            if why := who_can_change(Path(os.path.realpath(file))):
                raise ConfigError(f"'{shown(real)}' may not be loaded at run time, for {why}; make it yours alone")
        return Permit(model, real, real)

    def _is_in_place(self, real: Path) -> bool:
        places = self._places()
        return real in places or real.parent in places or (self.configured != "" and real == _real(self.configured))

    def _places(self) -> list[Path]:
        """Return the files and folders that are listed, links followed."""
        paths = [entry for entry in self.listed if not is_remote(entry) and not _HASH.fullmatch(entry)]
        return [*map(_real, paths), MODELS.resolve()]

    def _refusal(self, model: str, entry: str) -> str:
        may = ", ".join((*embedded_models(), *self.listed))
        return (
            f"model '{shown(model)}' may not be loaded at run time, only: {shown(may, 600)}; if you trust what lies "
            f"there, start the node with {self._line(shown(entry))}"
        )

    def _line(self, entry: str) -> str:
        entries = dict.fromkeys((entry, *self.listed))
        return f"`allowed_models: [{', '.join(map(_quoted, entries))}]`"


def _by_default(configured: str) -> tuple[str, ...]:
    if is_remote(configured):
        address = Address.of(configured)
        return (f"{address.scheme}://{address.netloc}",)
    if not configured or configured in embedded_models():
        return ()
    return (str(_real(configured, parent=True)),)


def _real(place: str, parent: bool = False) -> Path:
    path = Path(place).expanduser()
    return Path(os.path.realpath(path.parent if parent else path))


def _server(entry: str) -> tuple[Address, bool]:
    """Return the address of an entry, and whether it names a model."""
    named = bool(re.fullmatch(r"[\w+]+://[^/]*/+[^/].*", entry))
    return Address.of(entry if named else f"{entry.rstrip('/')}/MODEL"), named


def _is_at(address: Address, entry: str) -> bool:
    if not is_remote(entry):
        return False
    listed, named = _server(entry)
    if named and address[4:] != listed[4:]:  # base, model, version
        return False
    return (address.scheme, address.host, address.port) == (listed.scheme, listed.host, listed.port)


def _quoted(entry: str) -> str:
    return entry if _PLAIN.fullmatch(entry) else json.dumps(entry)
