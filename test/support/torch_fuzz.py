"""Load damaged copies of a model's file, in a process of its own: `python torch_fuzz.py FILE COPIES SEED`.

Each copy is cut short, has bits turned over, bytes overwritten or a stretch repeated. It must load and run, or be
refused with a ConfigError or EngineError; anything else ends the process with a traceback, or its own death.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np

from perf_inference.engines import load
from perf_inference.errors import ConfigError, EngineError
from support import torch_models  # noqa: F401  registers the network

INPUTS = {"image": np.full((1, 8, 8, 3), 7, np.uint8), "joints": np.ones((1, 4), np.float32)}


def damaged(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    kind, at = chance.randrange(5), chance.randrange(len(data))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        for _ in range(chance.choice((1, 1, 1, 4, 64))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 2:  # the beginning and the end, where the tables are
        at = chance.choice(
            (chance.randrange(min(512, len(data))), len(data) - 1 - chance.randrange(min(2048, len(data))))
        )
        data[at] = chance.randrange(256)
    elif kind == 3:
        data[at : at + 8] = chance.choice((b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7))
    else:
        data[at:at] = data[at : at + chance.randrange(1, 200)]
    return bytes(data)


def damaged_within(content: bytes, chance: random.Random) -> bytes:
    """Damage one file in an archive, and give it the right checksum."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written, "w") as copy:
        chosen = chance.choice(archive.namelist())
        for name in archive.namelist():
            data = archive.read(name)
            copy.writestr(name, damaged(data, chance) if name == chosen and data else data)
    return written.getvalue()


def main(path: Path, copies: int, seed: int) -> None:
    chance, content = random.Random(seed), path.read_bytes()
    loaded = refused = 0
    with tempfile.TemporaryDirectory() as directory:
        for number in range(copies):
            copy = Path(directory) / f"{number}{path.suffix}"
            within = zipfile.is_zipfile(path) and chance.random() < 0.7
            copy.write_bytes((damaged_within if within else damaged)(content, chance))
            try:
                engine = load(str(copy))
                engine.infer({spec.name: INPUTS.get(spec.name, INPUTS["joints"]) for spec in engine.inputs})
                engine.close()
                loaded += 1
            except (ConfigError, EngineError) as error:
                if "\n" in str(error):
                    raise ValueError(f"more than one line: {error}") from error
                refused += 1
            copy.unlink()
    print(f"{loaded} loaded, {refused} refused")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
