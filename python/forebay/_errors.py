"""The exceptions of forebay: each is also the built-in one that people already catch."""

from __future__ import annotations

__all__ = [
    "ForkedLoaderError",
    "LoaderTimeoutError",
    "MemoryLimitError",
    "SourceError",
    "UnsupportedError",
]


class MemoryLimitError(MemoryError):
    """The memory limit refused bytes that were needed.

    Attributes:
        required: the least limit in bytes that would do, None where it is not known.
        limit: the limit in force, in bytes; None where it is not known.
        path: the file that was being read, None where it was not about one.
        row_group: the row group of that file, None where it was not about one.
    """

    def __init__(
        self,
        message: str = "",
        *,
        required: int | None = None,
        limit: int | None = None,
        path: str | None = None,
        row_group: int | None = None,
    ) -> None:
        super().__init__(message)
        self.required = required
        self.limit = limit
        self.path = path
        self.row_group = row_group


class LoaderTimeoutError(TimeoutError):
    """No batch came within `timeout` seconds. The epoch goes on: the next `next()` tries again."""


class SourceError(OSError):
    """Reading the source failed; the exception of the library that read it is the cause.

    Attributes:
        path: the file that was being read, None where the source is not a file.
        row_group: the row group of that file, None where it is not known.
        row: the row inside that row group, or of a table in memory; None where it is not known.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | None = None,
        row_group: int | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.row_group = row_group
        self.row = row


class UnsupportedError(SourceError, NotImplementedError):
    """A type, encoding or codec that forebay does not read, named by column; raised at construction."""


class ForkedLoaderError(RuntimeError):
    """A loader, or something that came from it, was used in another process than the one it was made in."""
