"""From what the user names (a path, a directory, a glob, a list of those) to the files to read, in order."""

from __future__ import annotations

import difflib
import glob
import os
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from ._columns import quoted
from ._errors import SourceError, UnsupportedError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_IGNORED = ("_", ".")


class FoundFile(NamedTuple):
    """A file to read, and the folder below which it was found; None where it was named itself."""

    path: str
    root: str | None


def check_paths(source: Any) -> list[str]:
    """The paths that source names, as text; nothing is looked up yet.

    Raises TypeError for an element that is not a path, ValueError for an empty list or an empty path.
    """
    many = isinstance(source, (list, tuple))
    paths = [_check_path(path) for path in (source if many else [source])]
    if not paths:
        raise ValueError("source is an empty list: give at least one path")
    return paths


def _check_path(path: Any) -> str:
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"source must hold paths (str or os.PathLike), not {type(path).__name__}")
    text = os.fsdecode(path)
    if not text:
        raise ValueError("source holds an empty path")
    if "\0" in text:
        raise ValueError(f"source holds a path with a null character: {text!r}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"source holds a path that no file can have: {text!r}: {error}") from None
    return text


def find_files(paths: list[str]) -> list[FoundFile]:
    """The files that paths stand for: each path in turn, a directory's and a glob's files sorted by path.

    In a directory (searched to the bottom) names that begin with "_" or "." are ignored; so are those that a glob
    finds, unless a part of it begins so. A directory is the root of its files; the root of a glob's is the folder named
    before its first special character. Raises SourceError where nothing is there to read.
    """
    files: list[FoundFile] = []
    for path in paths:
        if _URL.match(path) and not os.path.exists(path):
            raise UnsupportedError(f"{path}: URLs are not read: give a path of this machine", path=path)
        files.extend(_expand(path))
    return files


def _expand(path: str) -> list[FoundFile]:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        # A name that holds glob characters and exists is a name.
        if glob.has_magic(path):
            return _expand_glob(path)
        raise SourceError(f"{path}: no such file or directory{_close_name(path)}", path=path) from None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}", path=path) from error
    if stat.S_ISDIR(mode):
        files = sorted(_walk(path))
        if not files:
            raise SourceError(f"{path}: the directory holds no file to read{_ignored_note(path)}", path=path)
        return [FoundFile(file, path) for file in files]
    return [FoundFile(path, None)]


def _expand_glob(pattern: str) -> list[FoundFile]:
    parts = pattern.rstrip(os.sep).split(os.sep)
    literal = next(count for count, part in enumerate(parts) if glob.has_magic(part))
    asked_for = {part[0] for part in parts[literal:] if part.startswith(_IGNORED)}
    found: list[str] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        heads = {part[:1] for part in match.split(os.sep)[literal:]}
        if (heads & set(_IGNORED)) - asked_for:
            continue
        if not os.path.isdir(match):
            found.append(match)
        elif parts[-1] != "**":  # "**" finds the directories as well as the files that lie in them
            found.extend(sorted(_walk(match)))
    if not found:
        raise SourceError(f"{pattern}: no file matches the pattern", path=pattern)
    root = os.sep.join(parts[:literal]) or (os.sep if pattern.startswith(os.sep) else ".")
    return [FoundFile(path, root) for path in found]


def _walk(folder: str) -> Iterator[str]:
    """Every file below folder whose name, and whose folders' names, are not to be ignored. Links are followed, once."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: {error.strerror or error}", path=error.filename) from error

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        identity = os.stat(place)
        if (identity.st_dev, identity.st_ino) in seen:
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(_IGNORED))
        for name in names:
            if not name.startswith(_IGNORED):
                yield os.path.join(place, name)


def _ignored_note(folder: str) -> str:
    ignored = sorted(name for name in os.listdir(folder) if name.startswith(_IGNORED))
    return f" (names that begin with '_' or '.' are ignored: {quoted(ignored, 3)})" if ignored else ""


def _close_name(path: str) -> str:
    """A hint for a path that does not exist, where a name beside it is nearly the same."""
    folder, name = os.path.split(path.rstrip(os.sep))
    try:
        close = difflib.get_close_matches(name, os.listdir(folder or "."), n=1, cutoff=0.7)
    except OSError:
        return ""
    return f": did you mean {os.path.join(folder, close[0])!r}?" if close else ""
