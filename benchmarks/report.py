"""The tables of a benchmark: medians over the rounds, ratios within a round, and whether the promises hold."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from datasets import DataSet

UNDER_TEST = "forebay"
MEBIBYTE = 1 << 20
# What the process tree may hold above the bare process and the limit: Python objects, stacks, allocator slack.
MEMORY_ALLOWANCE_BYTES = 48 * MEBIBYTE
# The least part of the best peer's rate that is promised on each set.
LEAST_RATIO = {"small": 1.0, "big": 0.9}
# From the first next() to the first batch of the small set, whose files are those of `forebay demo`.
MOST_FIRST_NEXT_S = 0.150


@dataclasses.dataclass
class Record:
    """All runs of one loader over one set: timed results by round, memory peaks, or why it failed."""

    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    memory_runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    peaks: list[int] = dataclasses.field(default_factory=list)
    bare_bytes: int = 0
    failure: str | None = None

    def rates(self) -> list[float]:
        """Decoded bytes a second, by round."""
        return [run["bytes"] / run["seconds"] for run in self.runs]

    def rate(self) -> float:
        """The median rate."""
        return statistics.median(self.rates())

    def median(self, name: str) -> float:
        """The median of one figure over the rounds."""
        return float(statistics.median(run[name] for run in self.runs))

    def above_bare(self) -> int:
        """The largest peak over all memory runs, less what the bare process holds."""
        return max(self.peaks) - self.bare_bytes


Records = dict[str, Record]


def ratio(record: Record, other: Record) -> float:
    """The median, over the rounds, of `record`'s rate over `other`'s in the same round."""
    return statistics.median(
        mine / theirs for mine, theirs in zip(record.rates(), other.rates(), strict=True)
    )


def fastest(records: Records, *, peers_only: bool) -> str | None:
    """The loader of the highest median rate; None where none ran."""
    rates = {
        name: record.rate()
        for name, record in records.items()
        if not record.failure and record.runs and not (peers_only and name == UNDER_TEST)
    }
    return max(rates, key=lambda name: rates[name]) if rates else None


def set_table(data_set: DataSet, records: Records) -> list[str]:
    """The table of one set, a row a loader, fastest first."""
    works = {name: record for name, record in records.items() if record.runs and not record.failure}
    reference = UNDER_TEST if UNDER_TEST in works else fastest(works, peers_only=False)
    lines = [
        f"### {data_set.name}: {data_set.describe()}",
        "",
        (
            f"| loader | MB/s | lowest to highest | ratio to {reference} | first batch ms "
            "| next p50 ms | p99 ms | max ms | peak MB above bare | faults per batch | CPU s |"
        ),
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in sorted(works, key=lambda name: -works[name].rate()):
        record = works[name]
        rates = record.rates()
        cells = [
            name,
            f"{record.rate() / 1e6:,.0f}",
            f"{min(rates) / 1e6:,.0f} to {max(rates) / 1e6:,.0f}",
            f"{ratio(record, works[str(reference)]):.2f}",
            f"{record.median('first_batch_s') * 1e3:.0f}",
            f"{record.median('wait_p50_s') * 1e3:.3f}",
            f"{record.median('wait_p99_s') * 1e3:.1f}",
            f"{max(run['wait_max_s'] for run in record.runs) * 1e3:.0f}",
            f"{record.above_bare() / 1e6:,.0f}" if record.peaks else "-",
            f"{record.median('faults_per_batch'):.1f}",
            f"{record.median('cpu_s'):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for name, record in records.items():
        if record.failure:
            lines.append(f"\n{name} failed: {record.failure}")
    return [*lines, ""]


def promises(results: dict[str, tuple[DataSet, Records]]) -> list[tuple[str, bool]]:
    """What forebay promises on these sets, with its figure, and whether it holds."""
    found: list[tuple[str, bool]] = []
    for set_name, (_, records) in results.items():
        record = records.get(UNDER_TEST)
        if record is None:
            continue
        if record.failure:
            found.append((f"{set_name}: every run completes ({record.failure})", False))
            continue
        peer = fastest(records, peers_only=True)
        if peer is not None and record.runs:
            least = LEAST_RATIO[set_name]
            value = ratio(record, records[peer])
            found.append(
                (
                    f"{set_name}: {value:.2f} of the best peer's rate ({peer}), at least {least:.2f}",
                    value >= least,
                )
            )
        if set_name == "small" and record.runs:
            first_s = record.median("first_next_s")
            most_ms = MOST_FIRST_NEXT_S * 1e3
            text = f"{set_name}: first batch {first_s * 1e3:.0f} ms after the first next(), at most {most_ms:.0f} ms"
            found.append((text, first_s <= MOST_FIRST_NEXT_S))
        runs = record.runs + record.memory_runs
        if not runs:
            continue
        limit = runs[0]["memory_limit"]
        peak = max(run["peak_bytes"] for run in runs)
        found.append(
            (
                f"{set_name}: peak_bytes {peak / MEBIBYTE:.1f} MiB, at most {limit / MEBIBYTE:.1f} MiB",
                peak <= limit,
            )
        )
        if record.peaks:
            excess = (record.above_bare() - limit) / MEBIBYTE
            allowance = MEMORY_ALLOWANCE_BYTES / MEBIBYTE
            text = f"{set_name}: process tree {excess:+.1f} MiB against bare + limit, at most {allowance:+.0f} MiB"
            found.append((text, excess <= allowance))
    return found


def machine() -> str:
    """CPU, CPUs in use, memory and kernel, in one line."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cpus = len(os.sched_getaffinity(0))
    return f"{model}, {cpus} CPUs, {memory / 2**30:.0f} GiB, Linux {platform.release()} {platform.machine()}"


def render(
    results: dict[str, tuple[DataSet, Records]],
    *,
    date: str,
    rounds: int,
    memory_limit: str,
    batch_rows: int,
    versions: dict[str, dict[str, str]],
) -> str:
    """The whole report as Markdown."""
    lines = [
        "# Benchmark results",
        "",
        f"{date}. {machine()}.",
        "",
        (
            f"One epoch in batches of {batch_rows:,} rows as numpy arrays, one column touched a batch; medians of "
            f"{rounds} round{'s' if rounds != 1 else ''}, loaders in alternation, each run in a process of its own "
            "over files just read into the page cache; imports not counted. Peak memory (anonymous + shared, the "
            "whole process tree, in MB of 10^6 bytes) is taken in runs of its own. forebay runs at memory_limit "
            f"{memory_limit}; the others have no such limit. README.md says more."
        ),
        "",
    ]
    for data_set, records in results.values():
        lines += set_table(data_set, records)
    verdicts = promises(results)
    if verdicts:
        lines += ["### What is promised", "", "| promise | |", "|---|---|"]
        lines += [f"| {text} | {'holds' if holds else '**missed**'} |" for text, holds in verdicts]
        lines.append("")
    lines += ["### Versions", ""]
    for loader, found in versions.items():
        lines.append(f"- {loader}: {', '.join(f'{name} {version}' for name, version in found.items())}")
    return "\n".join(lines) + "\n"
