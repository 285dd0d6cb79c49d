"""Prints requirements that pyproject.toml states, one a line, so that each is written in one place only.

Usage: requirements.py NAME...  where NAME is "build", "run" or one of the extras ("test", "dev").
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements(project: dict, name: str) -> list[str]:
    """The requirements of one name; an extra that names another one (forebay[test]) is followed."""
    if name == "build":
        return project["build-system"]["requires"]
    if name == "run":
        return project["project"]["dependencies"]
    lines = []
    for line in project["project"]["optional-dependencies"][name]:
        other = re.fullmatch(r"forebay\[(\w+)\]", line)
        lines += requirements(project, other[1]) if other else [line]
    return lines


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name in sys.argv[1:]:
        print("\n".join(requirements(project, name)))


if __name__ == "__main__":
    main()
