#!/usr/bin/env python3
"""A program that speaks, for tests: reads a text, writes a WAV of a tone whose length is 20 ms a character.

voice.py [MODE]      a mode: tone, hang, child (hangs, and what it starts does), player FILE, ...
"""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import time

RATE_HZ = 8000
SECONDS_A_CHARACTER = 0.02


def wav(text: str, said_bytes: int | None = None) -> bytes:
    """Return the sound of a text: a tone of 440 Hz at half of full scale."""
    count = round(len(text) * SECONDS_A_CHARACTER * RATE_HZ)
    samples = [round(16383 * math.sin(2 * math.pi * 440 * n / RATE_HZ)) for n in range(count)]
    data = struct.pack(f"<{count}h", *samples)
    size = len(data) if said_bytes is None else said_bytes
    head = b"RIFF" + struct.pack("<I", 36 + size & 0xFFFFFFFF) + b"WAVEfmt "
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, RATE_HZ * 2, 2, 16)
    return head + form + b"data" + struct.pack("<I", size) + data


def main(mode: str = "tone", *more: str) -> None:
    """Do what the mode says."""
    out = sys.stdout.buffer
    if mode == "player":  # keeps what it is given, for as long as the sound lasts
        data = sys.stdin.buffer.read()
        with open(more[0], "ab") as file:
            file.write(data)
        time.sleep(float(more[1]) if len(more) > 1 else 0)
        return
    if mode == "bad_player":
        print("cannot open the card", file=sys.stderr)
        sys.exit(3)
    if mode == "argument":  # the text is the last word
        out.write(wav(more[-1]))
        return
    if mode == "arguments":  # all words, one a line, into a file
        with open(more[0], "a") as file:
            file.write("\n".join(more[1:]) + "\n")
        out.write(wav("x" * 10))
        return
    text = sys.stdin.buffer.read().decode().rstrip("\n")
    if more and mode == "tone":  # keeps the texts
        with open(more[0], "a") as file:
            file.write(text + "\n")
    if mode in ("hang", "child") or (mode == "hang_at" and more[0] in text):
        if mode == "child":
            subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"])
        if more and mode != "hang_at":
            with open(more[0], "a") as file:
                file.write(f"{os.getpid()}\n")
        time.sleep(1000)
    if mode == "slow":  # half of it, then after a while the rest
        data = wav(text)
        out.write(data[: len(data) // 2])
        out.flush()
        time.sleep(float(more[0]))
        out.write(data[len(data) // 2 :])
        return
    if mode == "fail":
        print("no such voice", file=sys.stderr)
        sys.exit(1)
    if mode == "cut":
        out.write(wav(text)[:-100])
        return
    if mode == "raw":
        out.write(wav(text)[44:])
        return
    out.write(wav(text, 0x7FFFF000 if mode == "unknown_size" else None))


if __name__ == "__main__":
    main(*sys.argv[1:])
