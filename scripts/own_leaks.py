"""Reads what LeakSanitizer said of the Python suite and keeps to the leaks of this project.

Python and the libraries it loads leave memory behind at exit by design, so a leak counts only where the function that
asked for the memory lies in the extension. Errors other than leaks end a process at once and count wherever they are.

Usage: own_leaks.py FOLDER  with the sanitizer's log files, one a process. Exits with 1 where there is a finding.
"""

import re
import sys
from pathlib import Path

# A frame names the source file, relative to the build folder, or the library where that is not known.
OURS = re.compile(r"\.\./src/|\.\./python/forebay/_ext/|_ext\.abi3\.so")
LEAK = re.compile(r"^(?:Direct|Indirect) leak of .*?\n((?:    #\d+ .*\n)+)", re.MULTILINE)
# With what follows up to the first empty line: where it happened.
ERROR = re.compile(r"^=+\d+=+ ?ERROR: (?!LeakSanitizer: detected).*\n(?:.+\n)*", re.MULTILINE)


def findings(text: str) -> list[str]:
    """The reports in one log that concern us: errors, and leaks whose allocation was asked for in the extension."""
    found = [match[0] for match in ERROR.finditer(text)]
    for match in LEAK.finditer(text):
        # Frame 0 is the sanitizer's own allocator; the one after it called for memory.
        frames = [
            line for line in match[1].splitlines() if "libasan" not in line and "libsanitizer" not in line
        ]
        if frames and OURS.search(frames[0]):
            found.append(match[0])
    return found


def main() -> int:
    logs = sorted(Path(sys.argv[1]).iterdir())
    found = [
        f"{log.name}:\n{finding}" for log in logs for finding in findings(log.read_text(errors="replace"))
    ]
    print(
        "\n".join(found) if found else f"{len(logs)} processes under ASan: no error, no leak of the extension"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
