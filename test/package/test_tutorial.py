"""Each block of docs/tutorial.md runs as it stands, in a fresh clone (`make prove PROVE=tutorial`)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.paths import ROOT
from support.shell_blocks import Clone, blocks

PAGE = blocks(ROOT / "docs" / "tutorial.md")


def test_the_tutorial_has_blocks_that_a_shell_reads() -> None:
    run = [block for block in PAGE if block.is_run]
    assert len(run) >= 6
    for block in run:
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.long
def test_the_tutorial(tmp_path: Path, domain: int) -> None:
    clone = Clone(tmp_path / "clone")
    clone.follow(PAGE)
    assert {path.name for path in (clone.folder / "drawn").iterdir()} == {"samples.png"}
    assert (clone.folder / "bag" / "metadata.yaml").is_file()
