"""Which columns of a source the user chose, and what to say when a name is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def duplicate_names(names: Sequence[str]) -> list[str]:
    """The names that occur more than once, in order of their first occurrence."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return [name for name, count in counts.items() if count > 1]


def quoted(names: Sequence[str], most: int = 8) -> str:
    """Names for a message: quoted, separated by commas, the rest counted."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def unknown_column_message(name: str, available: Sequence[str], where: str) -> str:
    """The message for a column that a source lacks, with the names the user may have meant."""
    close = difflib.get_close_matches(name, available, n=3, cutoff=0.6)
    if not close:
        folded = name.casefold()
        close = [other for other in available if other.casefold() == folded]
    hint = f"did you mean {quoted(close)}?" if close else f"it has {quoted(available)}"
    return f"{where} has no column {name!r}: {hint}"


def choose_columns(available: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    """The chosen names in the user's order, or all of them where columns is None.

    Raises ValueError for a name that is not there, that is there twice, or that the core cannot be told.
    """
    names = list(available) if columns is None else list(columns)
    known = set(available)
    for name in names:
        if name not in known:
            raise ValueError(unknown_column_message(name, available, where))
    chosen = set(names)
    twice = [name for name in duplicate_names(available) if name in chosen]
    if twice:
        raise ValueError(
            f"{where} has more than one column named {quoted(twice)}: choose others with columns="
        )
    cut = [name for name in names if "\0" in name]
    if cut:
        raise ValueError(f"{where} has a null character in the name of column {quoted(cut)}")
    return names
