"""Files that cannot be read: an error, or left out and counted, as the user asked."""

from __future__ import annotations

import os
import sys
import warnings

_MOST_LISTED = 100
_MOST_WARNINGS = 10
_PACKAGE = os.path.dirname(__file__) + os.sep

POLICIES = ("error", "warn", "skip")


class BadFiles:
    """What became of the files of a source that could not be read.

    Attributes:
        are_errors: whether the first of them is to be raised.
        count: files left out.
        listed: (path, reason) of the first hundred of them.
    """

    def __init__(self, policy: str = "error") -> None:
        """policy: one of POLICIES."""
        self.are_errors = policy == "error"
        self._warns = policy == "warn"
        self.count = 0
        self.listed: list[tuple[str, str]] = []

    def leave_out(self, path: str, error: Exception) -> None:
        """Counts a file that is left out because of an error."""
        self.count += 1
        if len(self.listed) < _MOST_LISTED:
            self.listed.append((path, str(error).removeprefix(f"{path}: ")))

    def warn(self) -> None:
        """Gives the warnings that were asked for: one a file, and from the eleventh on their number."""
        if not self._warns:
            return
        level = _level_of_caller()
        for path, reason in self.listed[:_MOST_WARNINGS]:
            warnings.warn(f"{path} is left out: {reason}", UserWarning, stacklevel=level)
        if self.count > _MOST_WARNINGS:
            warnings.warn(
                f"{self.count - _MOST_WARNINGS} more files are left out: Loader.stats().bad_file_paths lists them",
                UserWarning,
                stacklevel=level,
            )


def _level_of_caller() -> int:
    """The stacklevel, for a warning given by our caller, of the first code that is not this package's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
