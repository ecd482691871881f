#!/usr/bin/env python3
"""Say whether a tag may be released, or print its notes: tools/check_release.py X.Y.Z [--notes]."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from runpy import run_path

ROOT = Path(__file__).resolve().parents[1]


def notes_of(version: str, changelog: str) -> str | None:
    """Return this version's part of the changelog, without its heading; None: it has none with a date."""
    heading = rf"^{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n-+\n"
    found = re.search(heading + r"(.*?)(?=^\d+\.\d+\.\d+ \(|\Z)", changelog, re.MULTILINE | re.DOTALL)
    return None if found is None else found[1].strip() + "\n"


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Return what stands in the way of this tag, a sentence each."""
    found = []
    version = run_path(str(root / "perf_inference" / "_version.py"))["VERSION"]
    if version != tag:
        found.append(f"perf_inference/_version.py has {version}, the tag is {tag}")
    in_xml = re.search(r"<version>(.*?)</version>", (root / "package.xml").read_text())
    if in_xml is None or in_xml[1] != tag:
        found.append(f"package.xml has {in_xml[1] if in_xml else 'no version'}, the tag is {tag}")
    if notes_of(tag, (root / "CHANGELOG.rst").read_text()) is None:
        found.append(f"CHANGELOG.rst must have a part '{tag} (YYYY-MM-DD)'; 'Forthcoming' is not released")
    return found


def main() -> int:
    """Return 0: it may be released."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    tag = sys.argv[1]
    if found := problems(tag):
        print("\n".join(found), file=sys.stderr)
        return 1
    if "--notes" in sys.argv:
        print(notes_of(tag, (ROOT / "CHANGELOG.rst").read_text()), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
