"""perf-inference completion: what a shell needs to complete commands, benchmarks and flags."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

NEEDS_ROS = False
SHELLS = ("bash", "zsh")
_BASH = """\
_perf_inference() {{
    local words="${{COMP_WORDS[*]:1:COMP_CWORD-1}}" current="${{COMP_WORDS[COMP_CWORD]}}" choices=""
    case "$words" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
}}
complete -o default -F _perf_inference perf-inference
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help='for this session: eval "$(perf-inference completion bash)"')


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print((_ZSH if options.shell == "zsh" else "") + script(), end="")
    return 0


def script() -> str:
    """Return the function for bash; zsh takes it too."""
    from perf_inference.cli import COMMANDS

    cases, ways = [], dict[str, list[str]]()
    for name, text in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"perf-inference {name}", description=text)
        try:
            importlib.import_module(f"perf_inference.commands.{name}").add_arguments(parser)
        except ModuleNotFoundError:  # of what is not installed: its flags cannot be told
            ways[name] = ["--help"]
            continue
        ways.update(_choices(parser, name))
    for way, words in sorted(ways.items(), key=lambda item: -item[0].count(" ")):  # the longest first
        cases.append(f'        "{way}"|"{way} "*) choices="{" ".join(words)}" ;;')
    cases.append(f'        *) choices="{" ".join([*COMMANDS, "--help", "--version"])}" ;;')
    return _BASH.format(cases="\n".join(cases))


def _choices(parser: argparse.ArgumentParser, way: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the words that may follow a command, and those that follow each below it."""
    words: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words += action.choices
            for name, below in action.choices.items():
                try:
                    getattr(below, "fill", lambda: None)()
                except ModuleNotFoundError:
                    continue
                yield from _choices(below, f"{way} {name}")
        else:
            words += action.option_strings
            words += [str(choice) for choice in action.choices or () if not action.option_strings]
    yield way, words
