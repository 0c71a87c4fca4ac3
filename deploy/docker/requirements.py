"""Print the third-party requirements of server and client, for an image layer that holds nothing else.

Usage: ``python requirements.py EXTRA...``, in the repository's root.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def third_party(root: Path, extras: list[str]) -> list[str]:
    """Requirements from both ``pyproject.toml`` files, without our own packages."""
    projects = [
        tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
        for folder in (".", "client")
    ]
    own = {project["name"] for project in projects}
    found = [requirement for project in projects for requirement in project["dependencies"]]
    for extra in extras:
        found += projects[0]["optional-dependencies"][extra]
    return sorted(item for item in found if re.split(r"[^\w.-]", item)[0] not in own)


if __name__ == "__main__":
    print(*third_party(Path.cwd(), sys.argv[1:]), sep="\n")
