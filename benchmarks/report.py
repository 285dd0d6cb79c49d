"""The tables of a benchmark: medians over the rounds, ratios within a round, and whether the promises hold."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from click_log import FULL, QUARTER, DataSet
from runs import Record, Records, ratio

UNDER_TEST = "forebay"
MEBIBYTE = 1 << 20
# What the process tree may hold above the bare process and the limit: Python objects, stacks, allocator slack.
MEMORY_ALLOWANCE_BYTES = 48 * MEBIBYTE
# The least part of the best peer's rate that is promised on each set.
LEAST_RATIO = {"small": 1.0, "big": 0.9}
# From the first next() to the first batch of the small set, whose files are those of `forebay demo`.
MOST_FIRST_NEXT_S = 0.150


@dataclasses.dataclass
class Figures:
    """What a benchmark found, and how it was run: all that the report says."""

    date: str
    machine: str
    rounds: int
    slow_rounds: int
    memory_limit: str
    batch_rows: int
    versions: dict[str, dict[str, str]]
    workloads: dict[str, Records]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Figures:
        """What to_dict() gave."""
        workloads = {
            workload: {name: Record(**record) for name, record in records.items()}
            for workload, records in values["workloads"].items()
        }
        return cls(**values | {"workloads": workloads})

    def failed(self) -> bool:
        """Whether any loader failed anywhere."""
        return any(record.failure for records in self.workloads.values() for record in records.values())


def data_set_of(workload: str) -> DataSet | None:
    """The data set that a workload streams; None for one from memory."""
    known = {data_set.name: data_set for sets in (FULL, QUARTER) for data_set in sets.values()}
    return known.get(workload)


def fastest(records: Records, *, peers_only: bool) -> str | None:
    """The loader of the highest median rate; None where none ran."""
    rates = {
        name: record.rate()
        for name, record in records.items()
        if record.works() and not (peers_only and name == UNDER_TEST)
    }
    return max(rates, key=lambda name: rates[name]) if rates else None


def table(records: Records, titles: list[str], cells: Callable[[Record, Record], list[str]]) -> list[str]:
    """A table with a row a loader, fastest first, and what failed below it.

    titles: of the columns after the loader's name. cells: of a record, given the one that ratios are against.
    """
    works = {name: record for name, record in records.items() if record.works()}
    lines = []
    if works:
        reference = UNDER_TEST if UNDER_TEST in works else str(fastest(works, peers_only=False))
        heads = [title.format(reference=reference) for title in titles]
        lines += [f"| loader | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
        for name in sorted(works, key=lambda name: -works[name].rate()):
            shown = f"**{name}**" if name == UNDER_TEST else name
            lines.append(f"| {' | '.join([shown, *cells(works[name], works[reference])])} |")
    for name, record in records.items():
        if record.failure:
            lines.append(f"\n{name} failed: {record.failure}")
    return [*lines, ""]


def spread(values: list[float]) -> str:
    """The lowest and the highest of several rounds; of one round nothing."""
    return f"{min(values):,.0f} to {max(values):,.0f}" if len(values) > 1 else "one run"


EPOCH_TITLES = [
    "MB/s", "lowest to highest", "ratio to {reference}", "first batch ms", "next p50 ms", "p99 ms", "max ms",
    "peak MB above bare", "faults per batch", "CPU s",
]  # fmt: skip


def epoch_cells(record: Record, reference: Record) -> list[str]:
    """The row of one loader over a data set."""
    return [
        f"{record.rate() / 1e6:,.0f}",
        spread([rate / 1e6 for rate in record.rates()]),
        f"{ratio(record, reference):.2f}",
        f"{record.median('first_batch_s') * 1e3:,.0f}",
        f"{record.median('wait_p50_s') * 1e3:.3f}",
        f"{record.median('wait_p99_s') * 1e3:.1f}",
        f"{max(run['wait_max_s'] for run in record.runs) * 1e3:,.0f}",
        f"{record.above_bare() / 1e6:,.0f}" if record.peaks else "-",
        f"{record.median('faults_per_batch'):.1f}",
        f"{record.median('cpu_s'):.1f}",
    ]


SMALL_TITLES = [
    "batches/s", "lowest to highest", "ratio to {reference}", "ratio to numpy slicing", "next p50 us", "p99 us",
    "faults per batch",
]  # fmt: skip


def small_cells(record: Record, reference: Record) -> list[str]:
    """The row of one loader over small batches from memory."""
    rates = [run["batches"] / run["seconds"] for run in record.runs]
    return [
        f"{statistics.median(rates):,.0f}",
        spread(rates),
        f"{ratio(record, reference):.2f}",
        f"{record.median('ratio_to_numpy'):.4f}",
        f"{record.median('wait_p50_s') * 1e6:.1f}",
        f"{record.median('wait_p99_s') * 1e6:,.0f}",
        f"{record.median('faults_per_batch'):.3f}",
    ]


def small_section(records: Records) -> list[str]:
    """The workload of small batches: what it is, and its table."""
    works = [record for record in records.values() if record.works()]
    lines = ["### small batches: 64 rows of 9 columns from memory", ""]
    if works:
        rates = [run["batches"] / run["numpy_seconds"] for record in works for run in record.runs]
        lines += [
            f"8 columns of float32 and one of int64. Plain slicing of numpy arrays (views, no loader) made "
            f"{statistics.median(rates):,.0f} batches/s, {spread(rates)}, measured in the process of each loader "
            "in turn with it.",
            "",
        ]
    return lines + table(records, SMALL_TITLES, small_cells)


def promises(figures: Figures) -> list[tuple[str, bool]]:
    """What forebay promises on the data sets, with its figure, and whether it holds."""
    found: list[tuple[str, bool]] = []
    for workload, records in figures.workloads.items():
        if data_set_of(workload) is None:
            continue
        set_name = workload.removesuffix("-quarter")
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


def few_runs(figures: Figures) -> str:
    """A sentence that names the loaders that did not run in every round; nothing where all did."""
    names = {
        name: len(record.runs)
        for records in figures.workloads.values()
        for name, record in records.items()
        if record.works() and len(record.runs) < figures.rounds
    }
    if not names:
        return ""
    runs = f"{figures.slow_rounds} round{'s' if figures.slow_rounds != 1 else ''}"
    return f"Those that are slow ran in {runs} only: {', '.join(names)}. "


def render(figures: Figures, plots: Mapping[str, str]) -> str:
    """The whole report as Markdown; plots: the name of the picture beside it, by workload."""
    lines = [
        "# Benchmark results",
        "",
        f"{figures.date}. {figures.machine}.",
        "",
        (
            f"One epoch in batches of {figures.batch_rows:,} rows as numpy arrays, one column touched a batch; medians "
            f"of {figures.rounds} round{'s' if figures.rounds != 1 else ''}, loaders in alternation, each run in a "
            "process of its own over files just read into the page cache; imports and the start of Ray's cluster not "
            f"counted. {few_runs(figures)}Peak memory (anonymous + shared, the whole "
            "process tree, in MB of 10^6 bytes) is taken in runs of its own. forebay runs at "
            f"memory_limit {figures.memory_limit}; the others have no such limit. README.md says more."
        ),
        "",
    ]
    for workload, records in figures.workloads.items():
        data_set = data_set_of(workload)
        if data_set is None:
            lines += small_section(records)
            continue
        lines += [f"### {data_set.name}: {data_set.describe()}", ""]
        if workload in plots:
            lines += [f"![rate against peak memory, {workload}]({plots[workload]})", ""]
        lines += table(records, EPOCH_TITLES, epoch_cells)
    verdicts = promises(figures)
    if verdicts:
        lines += ["### What is promised", "", "| promise | |", "|---|---|"]
        lines += [f"| {text} | {'holds' if holds else '**missed**'} |" for text, holds in verdicts]
        lines.append("")
    lines += ["### Versions", ""]
    return "\n".join([*lines, *version_lines(figures.versions)]) + "\n"


def version_lines(versions: dict[str, dict[str, str]]) -> list[str]:
    """A list of what runs were made of: first what is the same in all, then each loader's own."""

    def text(items: Iterable[tuple[str, str]]) -> str:
        return ", ".join(f"{name} {version}" for name, version in items)

    common = set.intersection(*(set(found.items()) for found in versions.values())) if versions else set()
    lines = [f"- all: {text(sorted(common))}"] if common else []
    own = {
        loader: [item for item in found.items() if item not in common] for loader, found in versions.items()
    }
    return lines + [f"- {loader}: {text(items)}" for loader, items in own.items() if items]
