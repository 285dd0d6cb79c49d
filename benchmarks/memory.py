"""Memory and CPU time of processes as the kernel counts them.

Memory is anonymous and shared-memory bytes, shared pages by share (PSS). Pages of files are left out: the page cache is
not the loader's, and the kernel takes it back when it likes.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

SAMPLE_INTERVAL_S = 0.02


def private_bytes(pid: int | str = "self") -> int:
    """Anonymous and shared-memory bytes of one process; OSError where it is gone."""
    total_kib = 0
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total_kib += int(line.split()[1])
    return total_kib * 1024


def process_tree(pid: int) -> list[int]:
    """`pid` and all its descendants, as far as they live."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in children.read_text().split())
            except OSError:
                continue  # the thread, and with it its list, has just ended
    return found


def tree_cpu_s() -> float:
    """CPU seconds of this process and its descendants, those that ended and were waited for included."""
    ticks = 0
    for member in process_tree(os.getpid()):
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except OSError:
            continue
        # After the name, which may hold anything: state is field 3, the four times are fields 14 to 17.
        ticks += sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def tree_bytes(pid: int) -> int:
    """Bytes of `pid` and all its descendants; a process that ends meanwhile counts nothing."""
    total = 0
    for member in process_tree(pid):
        try:
            total += private_bytes(member)
        except OSError:
            continue
    return total


def peak_until_exit(process: subprocess.Popen[str], timeout_s: float) -> int:
    """The most bytes that the tree of `process` held at any sample until it ended; TimeoutExpired past the limit."""
    deadline = time.monotonic() + timeout_s
    peak = 0
    while True:
        peak = max(peak, tree_bytes(process.pid))
        try:
            process.wait(SAMPLE_INTERVAL_S)
            return peak
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise
