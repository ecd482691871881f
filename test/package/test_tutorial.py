"""Each block of docs/tutorial.md runs as it stands, in a fresh clone (`make prove PROVE=tutorial`)."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from support.paths import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL) if PAGE.is_file() else []


def test_the_tutorial_has_blocks_that_a_shell_reads() -> None:
    assert len(BLOCKS) >= 6
    for block in BLOCKS:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.long
def test_the_tutorial(tmp_path: Path, domain: int) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    drop = ("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    env = {name: value for name, value in os.environ.items() if name not in drop}
    if ready := os.environ.get("TUTORIAL_VENV"):  # instead of a download
        (clone / ".venv").symlink_to(ready)
        env["PYTHONPATH"] = str(clone)
    for block in BLOCKS:
        if ready and block.startswith("make demo"):
            block = ".venv/bin/python -m perf_inference.cli demo --duration 15\n"
        if ready:
            block = block.replace(".venv/bin/perf-inference", ".venv/bin/python -m perf_inference.cli")
        begun_s = time.monotonic()
        result = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=clone, env=env, text=True, check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)  # fmt: skip
        print(f"\n{time.monotonic() - begun_s:.0f} s: {block.strip().splitlines()[0]} ... {result.returncode}")
        assert result.returncode == 0, f"{block}\n{result.stdout[-3000:]}"
        assert "Traceback" not in result.stdout
    assert {path.name for path in (clone / "drawn").iterdir()} == {"samples.png"}
    assert (clone / "bag" / "metadata.yaml").is_file()
