"""Runs forebay beside its peers over the workloads of the benchmarks; writes tables and plots: see README.md.

Every run is a process of its own: forebay's under the interpreter that runs this file, where forebay is installed, the
peers' too unless --peers-python names another. Each version of Ray has an environment of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click_log
import report
import small_batches
from frameworks import RAY_VERSIONS
from loaders import LOADERS
from pieces import Entry
from runs import HERE, Epoch, RunError, SmallBatches, Workload, bare_runs, log

ROOT = HERE.parent
ALL_LOADERS = list(dict.fromkeys([*LOADERS, *small_batches.LOADERS]))
WORKLOADS = [*click_log.FULL, SmallBatches.NAME]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line knows."""
    add = parser.add_argument
    add("--quick", action="store_true", help="a quarter of the rows, two rounds")
    add("--loaders", nargs="+", choices=ALL_LOADERS, metavar="NAME", help=f"of: {' '.join(ALL_LOADERS)}")
    add("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    add("--rounds", type=int, help="timed runs of each loader (default 5, with --quick 2)")
    add("--slow-rounds", type=int, default=1, help="timed runs of those that are slow (default 1)")
    add("--memory-rounds", type=int, help="runs with memory sampled (default 2, with --quick 1)")
    add("--memory-limit", default="192MiB", help="forebay's limit (default 192MiB)")
    add("--batch-rows", type=int, default=4096, help="rows of a batch (default 4096)")
    add("--data", type=Path, default=HERE / "data", help="holds the data sets, made where missing")
    add("--peers-python", type=Path, default=Path(sys.executable), help="interpreter that has the peers")
    add(
        "--ray-pythons",
        default=str(ROOT / ".venv-bench-ray-{}/bin/python"),
        metavar="PATH",
        help="interpreters that have Ray, {} standing for the version (default .venv-bench-ray-{}/bin/python)",
    )
    add("--output", type=Path, help="default results.md, with --quick data/results-quick.md")
    add("--date", default=datetime.date.today().isoformat(), help="the date that the report bears")
    add("--check", action="store_true", help="exit with 1 where a promise is missed")
    add("--render", type=Path, metavar="FILE", help="run nothing: write the report of these figures")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked and completed."""
    parser = argparse.ArgumentParser(description="Run forebay beside its peers, write tables and plots.")
    add_options(parser)
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 2 if options.quick else 5
    if options.memory_rounds is None:
        options.memory_rounds = 1 if options.quick else 2
    if options.output is None:
        options.output = HERE / "data" / "results-quick.md" if options.quick else HERE / "results.md"
    if options.rounds < 1 or options.slow_rounds < 1 or options.batch_rows < 1 or options.memory_rounds < 0:
        parser.error("--rounds, --slow-rounds and --batch-rows are at least 1, --memory-rounds at least 0")
    options.slow_rounds = min(options.slow_rounds, options.rounds)
    options.data = options.data.resolve()
    return options


def chosen(loaders: dict[str, Entry], names: Sequence[str] | None) -> dict[str, Entry]:
    """The loaders of a workload that run: those named, or those that run by default."""
    if names is None:
        return {name: entry for name, entry in loaders.items() if entry.by_default}
    return {name: loaders[name] for name in dict.fromkeys(names) if name in loaders}


def make_workloads(options: argparse.Namespace) -> list[Workload]:
    """The workloads, their data made where it was missing. One without a loader is left out.

    Raises RunError where none is left.
    """
    pythons = {"own": Path(sys.executable), "": options.peers_python.absolute()}
    pythons |= {
        f"ray-{version}": Path(options.ray_pythons.format(version)).absolute() for version in RAY_VERSIONS
    }
    found: list[Workload] = []
    for name in dict.fromkeys(options.workloads):
        is_small = name == SmallBatches.NAME
        entries = chosen(small_batches.LOADERS if is_small else LOADERS, options.loaders)
        if not entries:
            continue
        if is_small:
            found.append(
                SmallBatches(
                    entries,
                    pythons,
                    rows=small_batches.ROWS // (4 if options.quick else 1),
                    batch_rows=small_batches.BATCH_ROWS,
                    memory_limit=options.memory_limit,
                )
            )
            continue
        data_set = (click_log.QUARTER if options.quick else click_log.FULL)[name]
        found.append(
            Epoch(
                data_set,
                options.data / data_set.name,
                entries,
                pythons,
                batch_rows=options.batch_rows,
                memory_limit=options.memory_limit,
            )
        )
    if not found:
        raise RunError("none of --loaders is in one of --workloads: see README.md")
    return found


def run(options: argparse.Namespace) -> report.Figures:
    """Run every workload. Raises RunError where a loader does not load, DataSetError where the data is other data."""
    workloads = make_workloads(options)
    bare = bare_runs(workloads)
    for workload in workloads:
        for number in range(options.rounds):
            workload.timed_round(number, options.rounds, options.slow_rounds)
    for workload in workloads:
        for number in range(options.memory_rounds if workload.SAMPLES_MEMORY else 0):
            workload.memory_round(number, bare)
    return report.Figures(
        date=options.date,
        machine=report.machine(),
        rounds=options.rounds,
        slow_rounds=options.slow_rounds,
        memory_limit=options.memory_limit,
        batch_rows=options.batch_rows,
        versions={loader: result["versions"] for loader, result in bare.items()},
        workloads={workload.name: workload.records for workload in workloads},
    )


def write_plots(figures: report.Figures, output: Path) -> dict[str, str]:
    """The plots beside the report; returns their names by workload, none where matplotlib is not installed."""
    try:
        import plots
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        log("run: matplotlib is not installed: no plots")
        return {}
    return plots.write(figures, output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything.

    Returns 0; 1 where a run failed or, with --check, a promise is missed; 2 where it cannot begin.
    """
    options = parse(arguments)
    try:
        if options.render:
            figures = report.Figures.from_dict(json.loads(options.render.read_text(encoding="utf-8")))
        else:
            figures = run(options)
    except (RunError, click_log.DataSetError, OSError) as error:
        log(f"run: {error}")
        return 2
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if not options.render:  # so that a report can be written anew without the runs
        kept = HERE / "data" / f"{options.output.stem}.json"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(figures.to_dict(), indent=1), encoding="utf-8")
        log(f"figures kept in {kept}")
    text = report.render(figures, write_plots(figures, options.output))
    options.output.write_text(text, encoding="utf-8")
    print(text, end="")
    missed = options.check and not all(holds for _, holds in report.promises(figures))
    return 1 if figures.failed() or missed else 0


if __name__ == "__main__":
    sys.exit(main())
