"""Runs forebay beside its peers over the data sets of the benchmarks and writes the tables: see README.md.

Every run is a process of its own (child.py): forebay's under the interpreter that runs this file, where forebay is
installed, the peers' too unless --peers-python names another.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import memory
import pyarrow.parquet as pq
import report
from loaders import LOADERS

HERE = Path(__file__).resolve().parent
RUN_TIMEOUT_S = 600.0


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


def run_child(python: Path, arguments: Sequence[str], *, sample: bool = False) -> tuple[dict[str, Any], int]:
    """Run child.py; returns its result and, where `sample`, the peak bytes of its process tree (else 0)."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(python), str(HERE / "child.py"), *arguments],
            stdout=output,
            stderr=errors,
            cwd=HERE,
            text=True,
        )
        peak = 0
        try:
            if sample:
                peak = memory.peak_until_exit(process, RUN_TIMEOUT_S)
            process.wait(RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise RunError(f"no result within {RUN_TIMEOUT_S:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        errors.seek(0)
        lines = output.read().splitlines()
        if process.returncode != 0 or not lines:
            said = errors.read().strip().splitlines()
            raise RunError(said[-1] if said else f"exit status {process.returncode}")
    return json.loads(lines[-1]), peak


class Benchmark:
    """One benchmark over one set: the loaders, how to run them, and what came out."""

    def __init__(self, options: argparse.Namespace, pythons: dict[str, Path], set_name: str) -> None:
        sizes = datasets.QUARTER if options.quick else datasets.FULL
        self.data_set = sizes[set_name]
        self.set_name = set_name
        self.folder = options.data / self.data_set.name
        self.paths = datasets.ensure(self.data_set, self.folder)
        self.options = options
        self.pythons = pythons
        self.records: report.Records = {name: report.Record() for name in options.loaders}
        # Ones and zeros: the sum is exact, and the same in whatever order the rows come.
        self._label_sum = sum(
            float(pq.read_table(path, columns=["label"])["label"].to_numpy().sum(dtype="f8"))
            for path in self.paths
        )

    def _run(self, loader: str, *, sample: bool) -> tuple[dict[str, Any], int]:
        """One run of one loader, its files read just before, its rows checked after."""
        read_files(self.paths)
        arguments = [loader, str(self.folder), "--batch-rows", str(self.options.batch_rows)]
        arguments += ["--memory-limit", self.options.memory_limit]
        result, peak = run_child(self.pythons[loader], arguments, sample=sample)
        if (result["rows"], result["bytes"]) != (self.data_set.rows, self.data_set.decoded_bytes):
            raise RunError(f"gave {result['rows']} rows and {result['bytes']} bytes, not those of the set")
        if result["label_sum"] != self._label_sum:
            raise RunError(
                f"gave labels of sum {result['label_sum']}, not {self._label_sum} as the files hold"
            )
        return result, peak

    def timed_round(self, number: int) -> None:
        """Every loader once, in another order each round: what one leaves behind must not always meet the same next."""
        names = list(self.options.loaders)
        random.Random(number).shuffle(names)
        for name in names:
            record = self.records[name]
            if record.failure:
                continue
            try:
                result, _ = self._run(name, sample=False)
            except RunError as error:
                record.failure = str(error)
                log(f"{self.set_name}, round {number + 1}, {name}: failed: {error}")
                continue
            record.runs.append(result)
            rate = record.rates()[-1] / 1e6
            log(f"{self.set_name}, round {number + 1} of {self.options.rounds}, {name}: {rate:,.0f} MB/s")

    def memory_round(self, bare_bytes: dict[str, int]) -> None:
        """Every loader once with its memory sampled."""
        for name, record in self.records.items():
            if record.failure:
                continue
            try:
                result, peak = self._run(name, sample=True)
            except RunError as error:
                record.failure = f"memory run: {error}"
                log(f"{self.set_name}, memory, {name}: failed: {error}")
                continue
            record.bare_bytes = bare_bytes[name]
            record.peaks.append(peak)
            record.memory_runs.append(result)
            log(f"{self.set_name}, memory, {name}: {record.above_bare() / 1e6:,.0f} MB above bare")


def bare_runs(pythons: dict[str, Path]) -> tuple[dict[str, int], dict[str, dict[str, str]]]:
    """What each loader's bare process holds (median of three), and the versions it is made of."""
    sizes: dict[str, int] = {}
    versions: dict[str, dict[str, str]] = {}
    for name, python in pythons.items():
        try:
            found = [run_child(python, [name, ".", "--bare"])[0] for _ in range(3)]
        except RunError as error:
            raise RunError(
                f"{name} does not load ({error}): install it or leave it out with --loaders"
            ) from None
        sizes[name] = sorted(result["private_bytes"] for result in found)[1]
        versions[name] = found[0]["versions"]
    return sizes, versions


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked and completed."""
    parser = argparse.ArgumentParser(description="Run forebay beside its peers and write the tables.")
    parser.add_argument("--quick", action="store_true", help="a quarter of the rows, two rounds")
    parser.add_argument("--loaders", nargs="+", choices=list(LOADERS), default=list(LOADERS))
    parser.add_argument("--sets", nargs="+", choices=list(datasets.FULL), default=list(datasets.FULL))
    parser.add_argument("--rounds", type=int, help="timed runs of each loader (default 5, with --quick 2)")
    parser.add_argument(
        "--memory-rounds", type=int, help="runs with memory sampled (default 2, with --quick 1)"
    )
    parser.add_argument("--memory-limit", default="192MiB", help="forebay's limit (default 192MiB)")
    parser.add_argument("--batch-rows", type=int, default=4096)
    parser.add_argument("--data", type=Path, default=HERE / "data", help="holds the sets, made where missing")
    parser.add_argument(
        "--peers-python", type=Path, default=Path(sys.executable), help="interpreter that has the peers"
    )
    parser.add_argument("--output", type=Path, help="default results.md, with --quick data/results-quick.md")
    parser.add_argument(
        "--date", default=datetime.date.today().isoformat(), help="the date that the report bears"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 where a promise is missed")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 2 if options.quick else 5
    if options.memory_rounds is None:
        options.memory_rounds = 1 if options.quick else 2
    if options.output is None:
        options.output = HERE / "data" / "results-quick.md" if options.quick else HERE / "results.md"
    if options.rounds < 1 or options.memory_rounds < 0 or options.batch_rows < 1:
        parser.error("--rounds and --batch-rows are at least 1, --memory-rounds at least 0")
    options.loaders = list(dict.fromkeys(options.loaders))
    options.data = options.data.resolve()
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything.

    Returns 0; 1 where a run failed or, with --check, a promise is missed; 2 where it cannot begin.
    """
    options = parse(arguments)
    try:
        own = Path(sys.executable)
        pythons = {
            name: own if name == report.UNDER_TEST else options.peers_python for name in options.loaders
        }
        bare_bytes, versions = bare_runs(pythons)
        benchmarks = [Benchmark(options, pythons, set_name) for set_name in dict.fromkeys(options.sets)]
    except (RunError, datasets.DataSetError, OSError) as error:
        log(f"run: {error}")
        return 2
    for benchmark in benchmarks:
        for number in range(options.rounds):
            benchmark.timed_round(number)
    for benchmark in benchmarks:
        for _ in range(options.memory_rounds):
            benchmark.memory_round(bare_bytes)
    results = {benchmark.set_name: (benchmark.data_set, benchmark.records) for benchmark in benchmarks}
    text = report.render(
        results,
        date=options.date,
        rounds=options.rounds,
        memory_limit=options.memory_limit,
        batch_rows=options.batch_rows,
        versions=versions,
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    print(text, end="")
    failed = any(record.failure for benchmark in benchmarks for record in benchmark.records.values())
    missed = options.check and not all(holds for _, holds in report.promises(results))
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
