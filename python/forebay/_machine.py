"""What this process may use of the machine: memory and processors, as affinity and control groups grant them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GIB = 1 << 30


def default_memory_limit(root: Path = Path("/")) -> int:
    """Bytes a loader may hold where the user named no limit: 1 GiB, or an eighth of the memory if that is less."""
    return max(1, min(GIB, memory_bytes(root) // 8))


def memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory this process may use: the least of the machine's and of every control group above it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _group_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            value = _read_integer(folder / name)
            if value is not None and value > 0:
                limits.append(value)
    return min(limits)


def usable_processors(root: Path = Path("/")) -> int:
    """Processors this process may use: its affinity, and no more than the control groups' quota, rounded up."""
    count = len(os.sched_getaffinity(0))
    for folder in _group_folders(root, "cpu"):
        quota = _quota(folder)
        if quota is not None:
            count = min(count, max(1, math.ceil(quota)))
    return count


def _quota(folder: Path) -> float | None:
    """Processors that one control group grants, None where it sets no quota."""
    words = _read_words(folder / "cpu.max")
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    quota = _read_integer(folder / "cpu.cfs_quota_us")
    period = _read_integer(folder / "cpu.cfs_period_us")
    if quota is not None and period is not None and quota > 0 and period > 0:
        return quota / period
    return None


def _group_folders(root: Path, controller: str) -> Iterator[Path]:
    """The control group folders that bind this process, from its own up to the top one, of version 2 and of 1.

    Inside a container the path of /proc/self/cgroup may not be visible: the walk goes up to the mount's root, which is
    there the container's own group.
    """
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        _, controllers, path = fields
        if not controllers:
            top = mount
        elif controller in controllers.split(","):
            top = mount / controller
            if not top.is_dir():
                top = mount / controllers
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            folder = top.joinpath(*parts[:depth])
            if folder.is_dir():
                yield folder


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _read_integer(path: Path) -> int | None:
    words = _read_words(path)
    try:
        return int(words[0]) if words else None
    except ValueError:  # "max": no limit
        return None
