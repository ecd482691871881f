"""A release needs a tag, a version and a dated changelog that agree."""

from __future__ import annotations

import shutil
from pathlib import Path
from runpy import run_path

import pytest
from support.paths import ROOT

from perf_inference._version import VERSION

CHECK = run_path(str(ROOT / "tools" / "check_release.py"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "perf_inference").mkdir()
    for name in ("perf_inference/_version.py", "package.xml", "CHANGELOG.rst"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_dated_changelog_may_be_released(checkout: Path) -> None:
    changelog = checkout / "CHANGELOG.rst"
    changelog.write_text(changelog.read_text().replace(f"{VERSION} (Forthcoming)", f"{VERSION} (2026-01-31)"))
    assert CHECK["problems"](VERSION, checkout) == []
    notes = CHECK["notes_of"](VERSION, changelog.read_text())
    assert notes.startswith("* First release")
    assert "----" not in notes


def test_what_does_not_agree_is_named(checkout: Path) -> None:
    found = CHECK["problems"]("9.9.9", checkout)
    assert [text.split()[0] for text in found] == ["perf_inference/_version.py", "package.xml", "CHANGELOG.rst"]


def test_one_part_of_several() -> None:
    changelog = "1.1.0 (2026-02-01)\n-----\n* b\n\n1.0.0 (2026-01-01)\n-----\n* a\n"
    assert CHECK["notes_of"]("1.1.0", changelog) == "* b\n"
    assert CHECK["notes_of"]("1.0.0", changelog) == "* a\n"
