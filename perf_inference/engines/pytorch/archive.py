"""The zip archives that PyTorch writes (.pt, .torchscript, .pt2), looked through before PyTorch itself reads them.

PyTorch's reader leaves the checksums alone and believes the sizes that an archive claims.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from perf_inference.errors import ConfigError, in_one_line

_MOST_COMPRESSED_BYTES = 64 * 2**20  # PyTorch compresses only code; weights are stored as they are


def is_archive(path: Path) -> bool:
    """Return whether the file begins as a zip archive does, whole or not.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error}") from error


def read_archive(path: Path, wanted: tuple[str, ...] = ()) -> dict[str, bytes | None]:
    """Return the archive's files by name, without the directory that all are in.

    Args:
        wanted: beginnings of the names whose contents are returned too; the others' are None.

    Raises:
        ConfigError: damaged, or it would unpack to far more than it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_sizes(entries, path)
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
            names = {entry.filename: entry.filename.partition("/")[2] for entry in entries}
            if len(set(names.values())) < len(entries):
                raise zipfile.BadZipFile("two files in it have the same name")
            return {name: archive.read(full) if name.startswith(wanted) else None for full, name in names.items()}
    except Exception as error:  # zipfile raises some of every kind on damaged headers
        raise ConfigError(
            f"'{path}' is damaged or cut short ({in_one_line(error)}); copy or export it again"
        ) from error


def _check_sizes(entries: list[zipfile.ZipInfo], path: Path) -> None:
    stored = sum(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_STORED)
    packed = sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
    if stored > path.stat().st_size or packed > _MOST_COMPRESSED_BYTES:
        raise zipfile.BadZipFile(f"it claims to hold {(stored + packed) / 1e6:.0f} MB, more than PyTorch puts into it")
