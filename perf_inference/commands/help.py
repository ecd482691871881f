"""How `--help` shows what is written in lines: an example or a table of statuses stays one, prose fits the terminal."""

from __future__ import annotations

import argparse

from perf_inference.printable import folded

_COMMANDS = ("perf-inference ", "python -m ", "$ ", "eval ")


class KeptLines(argparse.HelpFormatter):
    """Keeps the lines of descriptions and epilogs; what is no command is folded."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            whole = line.lstrip().startswith(_COMMANDS)  # one that was folded could not be typed again
            lines += [line] if whole else folded(line, width)
        return "\n".join(indent + line for line in lines)
