"""Checks of a loader's arguments: TypeError and ValueError, before a file is opened or a thread is started."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _bad_files
from ._columns import duplicate_names, quoted
from ._machine import default_memory_limit, usable_processors

# Sizes cross into C as 64-bit integers with room to be added up.
MOST = (1 << 62) - 1
MOST_THREADS = 1024

NULL_POLICIES = {"error": 0, "fill": 1, "mask": 2}
PARTITIONINGS = ("hive",)
ADAPTIVE_PREFETCH = -1
BATCH_FORMATS = ("numpy", "pyarrow", "pandas")

_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([a-zA-Z]*)\s*")


@dataclass(frozen=True, slots=True)
class Settings:
    """A loader's arguments once checked: plain ints, floats and bools, defaults filled in."""

    batch_size: int  # 0 for the source's own blocks
    columns: list[str] | None
    memory_limit: int
    prefetch_batches: int  # ADAPTIVE_PREFETCH where the user named none
    num_threads: int
    preserve_order: bool
    drop_last: bool
    null_policy: str
    fill_value: dict[str, Any]
    batch_format: str
    dtypes: dict[str, str]
    timeout: float | None
    close_timeout: float
    progress: bool
    partitioning: str | None
    on_bad_file: str


def check(
    *,
    batch_size: Any,
    columns: Any,
    batch_format: Any,
    memory_limit: Any,
    prefetch_batches: Any,
    num_threads: Any,
    preserve_order: Any,
    drop_last: Any,
    null_policy: Any,
    fill_value: Any,
    dtypes: Any,
    timeout: Any,
    close_timeout: Any,
    progress: Any,
    partitioning: Any,
    on_bad_file: Any,
) -> Settings:
    """All arguments of a loader but its source, checked. Raises TypeError or ValueError naming the argument."""
    check_choice("batch_format", batch_format, BATCH_FORMATS)
    policy = check_choice("null_policy", null_policy, tuple(NULL_POLICIES))
    if fill_value is not None and policy == "error":
        raise ValueError('fill_value is for null_policy="fill" and "mask"; null_policy is "error"')
    if batch_format != "numpy" and policy != "error":
        raise ValueError(f'null_policy={policy!r} is for batch_format="numpy": {batch_format!r} keeps nulls')
    if batch_format != "numpy" and dtypes is not None:
        raise ValueError(f'dtypes is for batch_format="numpy", not {batch_format!r}')
    if check_bool("drop_last", drop_last) and batch_size is None:
        raise ValueError("drop_last leaves out a batch of fewer than batch_size rows; batch_size is None")
    return Settings(
        batch_size=0 if batch_size is None else check_integer("batch_size", batch_size, least=1),
        columns=check_columns(columns),
        memory_limit=default_memory_limit()
        if memory_limit is None
        else check_bytes("memory_limit", memory_limit),
        prefetch_batches=(
            ADAPTIVE_PREFETCH
            if prefetch_batches is None
            else check_integer("prefetch_batches", prefetch_batches, least=0)
        ),
        num_threads=(
            min(usable_processors(), MOST_THREADS)
            if num_threads is None
            else check_integer("num_threads", num_threads, least=1, most=MOST_THREADS)
        ),
        preserve_order=check_bool("preserve_order", preserve_order),
        drop_last=check_bool("drop_last", drop_last),
        null_policy=policy,
        fill_value=check_fill_value(fill_value),
        batch_format=str(batch_format),
        dtypes=check_dtypes(dtypes),
        timeout=None if timeout is None else check_seconds("timeout", timeout, allow_zero=False),
        close_timeout=check_seconds("close_timeout", close_timeout, allow_zero=True),
        progress=check_bool("progress", progress),
        partitioning=None
        if partitioning is None
        else check_choice("partitioning", partitioning, PARTITIONINGS),
        on_bad_file=check_choice("on_bad_file", on_bad_file, _bad_files.POLICIES),
    )


def check_integer(name: str, value: Any, *, least: int, most: int = MOST) -> int:
    """An int, or what stands for one (a numpy integer), within [least, most]. A bool is not an int."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an int, not a bool")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None
    shown = number if number.bit_length() < 256 else f"a number of {number.bit_length()} bits"
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {shown}")
    if number > most:
        raise ValueError(f"{name} must be at most {most}, not {shown}")
    return number


def check_bool(name: str, value: Any) -> bool:
    """A bool, Python's or numpy's; nothing that merely has a truth value."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return bool(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    listed = ", ".join(f'"{choice}"' for choice in choices)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str ({listed}), not {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{name} must be {'one of ' if len(choices) > 1 else ''}{listed}, not {value!r}")
    return value


def check_bytes(name: str, value: Any) -> int:
    """A size in bytes: an int, or text such as "192MiB", "64 MB", "1.5GiB" or "4096". At least 1."""
    if not isinstance(value, str):
        if isinstance(value, (bool, np.bool_)) or not hasattr(type(value), "__index__"):
            raise TypeError(
                f'{name} must be an int (bytes) or a str such as "256MiB", not {type(value).__name__}'
            )
        return check_integer(name, value, least=1)
    match = _SIZE.fullmatch(value)
    unit = match and _UNITS.get(match[2].lower())
    if not match or unit is None:
        raise ValueError(
            f'{name} must be a size such as "256MiB" or "64MB", not {value!r} '
            "(units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)"
        )
    whole, _, fraction = match[1].partition(".")
    number = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    return check_integer(name, number, least=1)


def check_seconds(name: str, value: Any, *, allow_zero: bool) -> float:
    """A time in seconds: a finite number above 0, or 0 where that makes sense."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"{name} must be a finite number of seconds, not {seconds}")
    if seconds < 0 or (seconds == 0 and not allow_zero):
        raise ValueError(f"{name} must be {'at least' if allow_zero else 'more than'} 0 seconds, not {value}")
    # Whatever is longer than a century is one: it crosses into C in nanoseconds.
    return min(seconds, 3.2e9)


def check_columns(value: Any) -> list[str] | None:
    """Names of columns, each once; None for all of them."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"columns must be a list of names, not one {type(value).__name__}: write columns=[{value!r}]"
        )
    try:
        names = list(value)
    except TypeError:
        raise TypeError(f"columns must be a list of names, not {type(value).__name__}") from None
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"columns must hold str only, not {type(name).__name__}")
    if not names:
        raise ValueError("columns must name at least one column; leave it out to read all of them")
    twice = duplicate_names(names)
    if twice:
        raise ValueError(f"columns names {quoted(twice)} more than once")
    return [str(name) for name in names]


def check_fill_value(value: Any) -> dict[str, Any]:
    """A mapping from column to the value that stands for its nulls; the values are checked once types are known."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"fill_value must be a dict of {{column: value}}, not {type(value).__name__}")
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"fill_value must have column names as keys, not {type(name).__name__}")
    return dict(value)


def check_dtypes(value: Any) -> dict[str, str]:
    """A mapping from column to what its values become."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"dtypes must be a dict of {{column: dtype}}, not {type(value).__name__}")
    for name, dtype in value.items():
        if not isinstance(name, str):
            raise TypeError(f"dtypes must have column names as keys, not {type(name).__name__}")
        check_choice(f"dtypes[{name!r}]", dtype, ("dictionary",))
    return dict(value)
