"""Runs of loaders in processes of their own, and what came out of them, by workload."""

from __future__ import annotations

import abc
import dataclasses
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click_log
import memory
import pyarrow.parquet as pq
from pieces import Entry

HERE = Path(__file__).resolve().parent
RUN_TIMEOUT_S = 600.0
# Where peers leave logs, sockets and caches: in a folder that goes when the run has ended.
SCRATCH_VARIABLES = ("TMPDIR", "RAY_TMPDIR", "HF_HOME")


class RunError(Exception):
    """One run did not give its result; the message is the last line that it wrote."""


def log(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def read_files(paths: Sequence[Path]) -> None:
    """Bring the files into the page cache, which forgets them within minutes."""
    buffer = bytearray(1 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def run_child(
    python: Path, script: str, arguments: Sequence[str], *, sample: bool = False
) -> tuple[dict[str, Any], int]:
    """Run a script beside this one; returns its result and, where `sample`, the peak bytes of its tree (else 0)."""
    with (
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch,
    ):
        process = subprocess.Popen(
            [str(python), str(HERE / script), *arguments],
            stdout=output,
            stderr=errors,
            cwd=HERE,
            env=os.environ | {name: scratch for name in SCRATCH_VARIABLES},
            text=True,
            start_new_session=True,
        )
        peak = 0
        try:
            if sample:
                peak = memory.peak_until_exit(process, RUN_TIMEOUT_S)
            process.wait(RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise RunError(f"no result within {RUN_TIMEOUT_S:.0f} s") from None
        finally:
            if process.poll() is None:  # its workers are of its session
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        errors.seek(0)
        lines = output.read().splitlines()
        if process.returncode != 0 or not lines:
            said = errors.read().strip().splitlines()
            raise RunError(said[-1] if said else f"exit status {process.returncode}")
    return json.loads(lines[-1]), peak


@dataclasses.dataclass
class Record:
    """All runs of one loader in one workload: timed results with their "round", memory peaks, or why it failed."""

    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    memory_runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    peaks: list[int] = dataclasses.field(default_factory=list)
    bare_bytes: int = 0
    failure: str | None = None

    def works(self) -> bool:
        """Whether it has figures to show."""
        return bool(self.runs) and not self.failure

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
    """The median, over the rounds that both ran in, of `record`'s rate over `other`'s in the same round."""
    theirs = dict(zip((run["round"] for run in other.runs), other.rates(), strict=True))
    mine = dict(zip((run["round"] for run in record.runs), record.rates(), strict=True))
    return statistics.median(rate / theirs[number] for number, rate in mine.items() if number in theirs)


class Workload(abc.ABC):
    """One workload: its loaders, how one of them is run, and what came out."""

    SCRIPT: str
    SAMPLES_MEMORY = True

    def __init__(self, name: str, entries: Mapping[str, Entry], pythons: Mapping[str, Path]) -> None:
        """entries: the loaders that run. pythons: the interpreter of each environment."""
        self.name = name
        self.entries = entries
        self.records: Records = {loader: Record() for loader in entries}
        self._pythons = pythons

    def python(self, loader: str) -> Path:
        """The interpreter that has the loader."""
        return self._pythons["own" if loader == "forebay" else self.entries[loader].environment]

    def bare_run(self, loader: str) -> dict[str, Any]:
        """What the loader's bare process holds (median of three, where memory matters), and what it is made of.

        Raises RunError where the loader does not load.
        """
        try:
            found = [
                run_child(self.python(loader), self.SCRIPT, [loader, "--bare"])[0]
                for _ in range(3 if self.SAMPLES_MEMORY else 1)
            ]
        except (RunError, OSError) as error:
            raise RunError(
                f"{loader} does not load ({error}): install it or leave it out with --loaders"
            ) from None
        return sorted(found, key=lambda result: result["private_bytes"])[len(found) // 2]

    @abc.abstractmethod
    def run(self, loader: str, *, sample: bool) -> tuple[dict[str, Any], int]:
        """One run of one loader: its result, checked, and its peak bytes where `sample`. Raises RunError."""

    @abc.abstractmethod
    def headline(self, result: dict[str, Any]) -> str:
        """A result's rate for a line of progress."""

    def timed_round(self, number: int, rounds: int, slow_rounds: int) -> None:
        """Every loader once, in another order each round: what one leaves behind must not always meet the same next."""
        names = [name for name, entry in self.entries.items() if number < slow_rounds or not entry.is_slow]
        random.Random(number).shuffle(names)
        for name in names:
            record = self.records[name]
            if record.failure:
                continue
            try:
                result, _ = self.run(name, sample=False)
            except RunError as error:
                record.failure = str(error)
                log(f"{self.name}, round {number + 1}, {name}: failed: {error}")
                continue
            record.runs.append(result | {"round": number})
            log(f"{self.name}, round {number + 1} of {rounds}, {name}: {self.headline(result)}")

    def memory_round(self, number: int, bare: Mapping[str, dict[str, Any]]) -> None:
        """Every loader once with its memory sampled; a slow one in the first round only."""
        for name, record in self.records.items():
            if record.failure or (number and self.entries[name].is_slow):
                continue
            try:
                result, peak = self.run(name, sample=True)
            except RunError as error:
                record.failure = f"memory run: {error}"
                log(f"{self.name}, memory, {name}: failed: {error}")
                continue
            record.bare_bytes = bare[name]["private_bytes"]
            record.peaks.append(peak)
            record.memory_runs.append(result)
            log(f"{self.name}, memory, {name}: {record.above_bare() / 1e6:,.0f} MB above bare")


class Epoch(Workload):
    """One epoch over the files of a data set."""

    SCRIPT = "child.py"

    def __init__(
        self,
        data_set: click_log.DataSet,
        folder: Path,
        entries: Mapping[str, Entry],
        pythons: Mapping[str, Path],
        *,
        batch_rows: int,
        memory_limit: str,
    ) -> None:
        """Makes the files in `folder` that are not there. Raises DataSetError where others are."""
        super().__init__(data_set.name, entries, pythons)
        self.data_set = data_set
        self._paths = click_log.ensure(data_set, folder)
        self._arguments = [
            "--folder",
            str(folder),
            "--batch-rows",
            str(batch_rows),
            "--memory-limit",
            memory_limit,
        ]
        # Ones and zeros: the sum is exact, and the same in whatever order the rows come.
        self._label_sum = sum(
            float(pq.read_table(path, columns=["label"])["label"].to_numpy().sum(dtype="f8"))
            for path in self._paths
        )

    def run(self, loader: str, *, sample: bool) -> tuple[dict[str, Any], int]:
        """One run, the files read just before, the rows checked after."""
        read_files(self._paths)
        result, peak = run_child(self.python(loader), self.SCRIPT, [loader, *self._arguments], sample=sample)
        if (result["rows"], result["bytes"]) != (self.data_set.rows, self.data_set.decoded_bytes):
            raise RunError(f"gave {result['rows']} rows and {result['bytes']} bytes, not those of the set")
        if result["label_sum"] != self._label_sum:
            raise RunError(f"gave labels of sum {result['label_sum']}, not {self._label_sum} as files hold")
        return result, peak

    def headline(self, result: dict[str, Any]) -> str:
        return f"{result['bytes'] / result['seconds'] / 1e6:,.0f} MB/s"


class SmallBatches(Workload):
    """Small batches from memory, every loader beside plain slicing in its own process."""

    NAME = "small-batches"
    SCRIPT = "small_batches.py"
    SAMPLES_MEMORY = False

    def __init__(
        self,
        entries: Mapping[str, Entry],
        pythons: Mapping[str, Path],
        *,
        rows: int,
        batch_rows: int,
        memory_limit: str,
    ) -> None:
        super().__init__(self.NAME, entries, pythons)
        self.batch_rows = batch_rows
        self._arguments = ["--rows", str(rows), "--batch-rows", str(batch_rows)]
        self._arguments += ["--memory-limit", memory_limit]

    def run(self, loader: str, *, sample: bool) -> tuple[dict[str, Any], int]:
        """One run; the child checks what it gets."""
        return run_child(self.python(loader), self.SCRIPT, [loader, *self._arguments], sample=sample)

    def headline(self, result: dict[str, Any]) -> str:
        return f"{result['batches'] / result['seconds']:,.0f} batches/s"


def bare_runs(workloads: Sequence[Workload]) -> dict[str, dict[str, Any]]:
    """The bare run of each loader, by its name; of one in several workloads, that of the first. Raises RunError."""
    found: dict[str, dict[str, Any]] = {}
    for workload in workloads:
        for loader in workload.entries:
            if loader not in found:
                found[loader] = workload.bare_run(loader)
    return found
