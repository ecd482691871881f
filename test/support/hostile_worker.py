"""A process of its own for mutated inputs: `READER[,READER ...] SEED FIRST LAST FOLDER`; prints a JSON line for each.

Its memory and files are bounded. One that takes five seconds of the processor hangs: the process ends with its stack.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

HANG_S = 5.0  # of the processor; a busy machine does not count
STUCK_S = 120.0  # of the clock: it waits for something
MEMORY_BYTES = 1 << 30  # beyond what it has when it begins
FILE_BYTES = 1 << 30


def main() -> None:
    """Run the inputs from FIRST to LAST - 1."""
    reader, seed, first, last, scratch = sys.argv[1:]  # of several readers, one input each in turns
    from support import hostile_readers, hostile_seeds
    from support.paths import SHARED_DATA

    seeds_folder = Path(scratch) / "seeds"
    seeds_folder.mkdir(exist_ok=True)
    tempfile.tempdir = scratch
    made = hostile_seeds.make(seeds_folder, SHARED_DATA if SHARED_DATA.is_dir() else None)
    readers = reader.split(",")
    seeds = {name: hostile_readers.seeds_of(name, made) for name in readers}
    warnings.simplefilter("ignore")
    _bound()
    faulthandler.register(signal.SIGPROF, chain=True)
    for index in range(int(first), int(last)):
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        faulthandler.dump_traceback_later(STUCK_S, exit=True)
        begun_s = time.process_time()
        said: dict[str, object] = {"index": index}
        name = readers[index % len(readers)]
        chance = hostile_seeds.chance_of(seed, name, index)
        try:
            said["verdict"] = hostile_readers.run(name, seeds[name], chance, Path(scratch))
        except BaseException as error:
            said |= {"verdict": "crash", "error": f"{type(error).__name__}: {error}"[:300]}
            said["where"] = "".join(traceback.format_exception(error)[-6:])[-2500:]
        said["s"] = time.process_time() - begun_s
        print(json.dumps(said), flush=True)
    signal.setitimer(signal.ITIMER_PROF, 0)
    faulthandler.cancel_dump_traceback_later()


def _bound() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
