"""README: short, its links lead somewhere, and each block runs as it stands (`make prove PROVE=readme`)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.paths import ROOT
from support.shell_blocks import BESIDE, GOES_ON, Clone, blocks, check_command, commands

README = ROOT / "README.md"
PAGE = blocks(README)
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
_MOST_WORDS = 1200


def test_it_is_read_in_five_minutes() -> None:
    assert len(README.read_text().split()) <= _MOST_WORDS


def test_each_block_is_run_or_says_what_it_needs() -> None:
    run = [block for block in PAGE if block.is_run]
    assert len(run) >= 6
    for block in PAGE:
        assert block.language in ("bash", "yaml", "mermaid"), block.text
        assert block.language == "mermaid" or block.said.startswith(("needs ", "robot.yaml")) or block in run
    for block in run:
        assert block.said in ("", GOES_ON, BESIDE), block.said
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.parametrize(
    "line", [line for block in PAGE if block.is_run for line in commands(block) if "perf-inference" in line]
)
def test_each_command_and_flag_is_one_that_there_is(line: str) -> None:
    check_command(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)\s]*)?\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_headings_that_there_are(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#\s]*)#([^)\s]*)\)", page.read_text()):
        if "://" in target:
            continue
        text = (page.parent / target if target else page).read_text()
        headings = {_anchor(line) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        assert heading in headings, f"{page.name}: {target}#{heading}"


def _anchor(heading: str) -> str:
    """Return the name that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.long
def test_the_readme(tmp_path: Path, domain: int) -> None:
    clone = Clone(tmp_path / "clone")
    clone.follow(PAGE)
    assert (clone.folder / "bag" / "metadata.yaml").is_file()
