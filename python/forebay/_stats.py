"""Figures about a loader: what it planned, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from ._bad_files import BadFiles

_KIB, _MIB = 1 << 10, 1 << 20


class AccountStats(NamedTuple):
    """Bytes of one account of the ledger: now, and the most so far."""

    bytes: int
    peak: int


@dataclass(frozen=True, slots=True)
class WaitStats:
    """How long calls of next() took, in seconds; percentiles are of logarithmic buckets."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float
    sum: float


@dataclass(frozen=True, slots=True)
class StageStats:
    """Where the threads of one stage spent their time, in seconds summed over them, and how many items they made."""

    busy_s: float
    wait_input_s: float
    wait_output_s: float
    wait_bytes_s: float
    items: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a loader settled at construction.

    Attributes:
        batches: batches of an epoch; None where the source is a stream of unknown length.
        rows: rows of an epoch: those of the source, without the ones that drop_last leaves out; None likewise.
        units: pieces the source reads by itself: row groups with rows, or blocks; None likewise.
        least_memory_bytes: the least memory_limit that an epoch completes in; with strings an estimate. The blocks of a
            stream come on top of it.
        batch_bytes: bytes of one full batch; with strings an estimate.
        piece_rows: rows that the decoder is asked for at a time; 0 for data in memory.
        column_sets: sets of columns that are decoded side by side.
        thread_count: reader threads.
    """

    batches: int | None
    rows: int | None
    units: int | None
    least_memory_bytes: int
    batch_bytes: int
    piece_rows: int
    column_sets: int
    thread_count: int

    def to_dict(self) -> dict[str, int | None]:
        """The attributes as a dict."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of a loader's figures. Bytes are ints, times are floats in seconds.

    Attributes:
        batches, rows, bytes_out: delivered by next() so far, over all epochs.
        memory_limit: the limit in force.
        peak_bytes: most bytes charged at any instant; never more than memory_limit.
        charged_bytes: bytes charged now.
        foreign_bytes: most bytes that a decoder held beyond what could be booked before it took them.
        held_batches: batches in the user's hands.
        gate_allocations: calls of the allocation gate.
        first_batch_s: from the first next() of the epoch to its first batch.
        blocked_s: time inside next(). user_s: time between one next() and the following one.
        accounts: {account: (bytes, peak)}.
        next_wait: how long next() took.
        stages: {stage: its times}.
        bottleneck: the name of the stage that the rest waits for, or "consumer"; None before the first batch.
        bad_files: files that on_bad_file left out, when the loader was made.
        bad_file_paths: (path, reason) of the first hundred of them.
    """

    batches: int
    rows: int
    bytes_out: int
    memory_limit: int
    peak_bytes: int
    charged_bytes: int
    foreign_bytes: int
    held_batches: int
    gate_allocations: int
    first_batch_s: float
    blocked_s: float
    user_s: float
    accounts: dict[str, AccountStats]
    next_wait: WaitStats
    stages: dict[str, StageStats]
    bottleneck: str | None
    bad_files: int = 0
    bad_file_paths: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def from_core(cls, figures: dict[str, Any], bad_files: BadFiles | None = None) -> Stats:
        """From the dict that the core gives; what it has more than this class is left out. bad_files: None: none."""
        known = {one.name: figures[one.name] for one in fields(cls) if one.name in figures}
        if bad_files:
            known |= {"bad_files": bad_files.count, "bad_file_paths": list(bad_files.listed)}
        known["accounts"] = {name: AccountStats(*pair) for name, pair in figures["accounts"].items()}
        known["next_wait"] = WaitStats(**figures["next_wait"])
        known["stages"] = {name: StageStats(**times) for name, times in figures["stages"].items()}
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain dicts, tuples, ints, floats and str: ready for json."""
        figures = {one.name: getattr(self, one.name) for one in fields(self)}
        figures["accounts"] = {name: tuple(account) for name, account in self.accounts.items()}
        figures["next_wait"] = _plain(self.next_wait)
        figures["stages"] = {name: _plain(stage) for name, stage in self.stages.items()}
        return figures

    def __str__(self) -> str:
        """A table for a person."""
        seconds = self.blocked_s + self.user_s
        wait = self.next_wait
        lines = [
            ("rows", f"{self.rows:,} in {self.batches:,} batches, {self.bytes_out / 1e6:,.1f} MB"),
            ("rate", _rate(self.rows, self.bytes_out, seconds)),
            ("first batch", f"{self.first_batch_s * 1e3:,.1f} ms"),
            (
                "next()",
                f"p50 {wait.p50 * 1e3:,.2f} ms, p90 {wait.p90 * 1e3:,.2f} ms, p99 {wait.p99 * 1e3:,.2f} ms, "
                f"most {wait.max * 1e3:,.2f} ms",
            ),
            (
                "waited",
                f"{_share(self.blocked_s, seconds)} of {seconds:,.2f} s; bottleneck: {self.bottleneck or '-'}",
            ),
            ("memory", f"peak {bytes_text(self.peak_bytes)} of {bytes_text(self.memory_limit)}"),
        ]
        if self.foreign_bytes:
            lines.append(
                ("beyond", f"{bytes_text(self.foreign_bytes)} taken by the decoder before it could be booked")
            )
        if self.bad_files:
            lines.append(("bad files", f"{self.bad_files:,} left out: bad_file_paths says why"))
        text = [f"{name:<13}{value}" for name, value in lines]
        text.append(_table("account", ("now", "peak"), {
            name: [bytes_text(account.bytes), bytes_text(account.peak)] for name, account in self.accounts.items()
        }))  # fmt: skip
        if self.stages:
            text.append(_table("stage", ("busy", "wait input", "wait output", "wait bytes", "items"), {
                name: [
                    f"{stage.busy_s:,.2f} s", f"{stage.wait_input_s:,.2f} s", f"{stage.wait_output_s:,.2f} s",
                    f"{stage.wait_bytes_s:,.2f} s", f"{stage.items:,}",
                ]
                for name, stage in self.stages.items()
            }))  # fmt: skip
        return "\n".join(text)


def bytes_text(count: int) -> str:
    """A size for a person, in the units that limits are given in."""
    if count >= _MIB:
        return f"{count / _MIB:,.1f} MiB"
    return f"{count / _KIB:,.1f} KiB" if count else "0"


def _plain(record: Any) -> dict[str, Any]:
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _rate(rows: int, bytes_out: int, seconds: float) -> str:
    if seconds <= 0 or not rows:
        return "-"
    return f"{rows / seconds:,.0f} rows/s, {bytes_out / 1e6 / seconds:,.1f} MB/s"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole > 0 else "-"


def _table(head: str, titles: tuple[str, ...], rows: dict[str, list[str]]) -> str:
    """Rows by name with right-aligned columns."""
    cells = [list(titles), *rows.values()]
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    lines = []
    for name, row in zip([head, *rows], cells, strict=True):
        lines.append(
            f"{name:<13}" + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        )
    return "\n".join(lines)
