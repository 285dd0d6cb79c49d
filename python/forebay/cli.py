"""The command line: `forebay run SOURCE`, `forebay inspect SOURCE`, `forebay demo`, `forebay bench NAME`."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__, _bad_files
from ._errors import ForkedLoaderError, LoaderTimeoutError, MemoryLimitError, SourceError, UnsupportedError

_MISTAKE, _INTERRUPTED = 2, 130
_MIB = 1 << 20


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_MISTAKE, f"forebay: {message}: see `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0; 2 for a mistake, said in one line; 130 when interrupted."""
    options = _parser().parse_args(arguments)
    # Where stderr is no terminal, progress is logged.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            options.command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("forebay: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output is gone: nobody to tell
        sys.stdout = None
        return 1
    except (ValueError, OSError, MemoryLimitError, ForkedLoaderError) as error:
        message = " ".join(f"{error}{_remedy(error)}".split())
        print(f"forebay: {message}", file=sys.stderr)
        return _MISTAKE
    return 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"forebay: {message}", file=sys.stderr)


def _remedy(error: BaseException) -> str:
    """What to do about an error, where its message does not say so."""
    if isinstance(error, MemoryLimitError):
        if error.required:
            return f": give --memory-limit {-(-error.required // _MIB)}MiB or more"
        return ": give a larger --memory-limit"
    if isinstance(error, LoaderTimeoutError):
        return ": give a longer --timeout"
    if isinstance(error, UnsupportedError):
        return ": leave the column out with --columns"
    if isinstance(error, SourceError) and error.row_group is not None:
        return ": the file may be damaged: leave it out, or write it again"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="forebay", description="Columnar data becomes training batches inside one byte limit."
    )
    parser.add_argument("--version", action="version", version=f"forebay {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="stream a source once and say how fast, and in how many bytes"))
    _add_inspect(commands.add_parser("inspect", help="say what a source holds and what batches it makes"))
    _add_demo(commands.add_parser("demo", help="make a click log, train on one epoch of it in 192 MiB"))
    _add_bench(commands.add_parser("bench", help="say how fast it is here, beside the same loop without it"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = "Streams a source once, nulls masked, and prints how fast it went and what it took."
    parser.set_defaults(command=_run)
    _add_source_options(parser)
    add = parser.add_argument
    add("--memory-limit", metavar="SIZE", help="such as 192MiB (default: 1GiB, or 1/8 of the memory if less)")
    add("--threads", type=int, metavar="N", help="reader threads (default: the processors it may use)")
    add(
        "--prefetch",
        type=int,
        metavar="N",
        help="most batches ready ahead (default: as many as waits ask for)",
    )
    add("--order", action="store_true", help="batches in the order of the source")
    add("--drop-last", action="store_true", help="leave out a last batch that is not full")
    add(
        "--timeout", type=float, metavar="SECONDS", help="most time to wait for one batch (default: no limit)"
    )


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a Parquet file, a directory or a glob; several are read in turn",
    )
    add("--batch-size", type=int, default=4096, metavar="ROWS", help="rows of a batch (default %(default)s)")
    add(
        "--columns",
        metavar="A,B,...",
        help="names of the columns to read, separated by commas (default: all)",
    )
    add(
        "--on-bad-file",
        choices=_bad_files.POLICIES,
        default="error",
        help="what to do about a file that cannot be read (default %(default)s)",
    )
    add(
        "--no-partitioning",
        dest="partitioning",
        action="store_const",
        const=None,
        default="hive",
        help="read no columns from folders called key=value",
    )


def _run(options: argparse.Namespace) -> None:
    from .loader import Loader

    with Loader(
        options.source,
        batch_size=options.batch_size,
        columns=options.columns and options.columns.split(","),
        memory_limit=options.memory_limit,
        prefetch_batches=options.prefetch,
        num_threads=options.threads,
        preserve_order=options.order,
        drop_last=options.drop_last,
        null_policy="mask",
        timeout=options.timeout,
        progress=True,
        partitioning=options.partitioning,
        on_bad_file=options.on_bad_file,
    ) as loader:
        for _ in loader:
            pass
    print(loader.stats())


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Reads the footers of a source and prints what it holds and what batches would be made of it."
    )
    parser.set_defaults(command=_inspect)
    _add_source_options(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def _inspect(options: argparse.Namespace) -> None:
    from ._inspect import inspect, text_of

    found = inspect(
        options.source,
        batch_size=options.batch_size,
        columns=options.columns and options.columns.split(","),
        partitioning=options.partitioning,
        on_bad_file=options.on_bad_file,
    )
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(text_of(found, shutil.get_terminal_size().columns))


def _add_demo(parser: argparse.ArgumentParser) -> None:
    from . import demo

    parser.description = (
        "Makes a data set like a click log, once, and trains a small model on one epoch of it."
    )
    parser.set_defaults(command=_demo)
    add = parser.add_argument
    add(
        "directory",
        nargs="?",
        type=Path,
        default=Path("demo-data"),
        help="where its data is (default ./demo-data)",
    )
    add("--files", type=_positive, default=demo.FILES, help="files of the data set (default %(default)s)")
    add(
        "--rows-per-file",
        type=_positive,
        default=demo.ROWS_PER_FILE,
        help="rows of each (default %(default)s)",
    )


def _demo(options: argparse.Namespace) -> None:
    from . import demo

    demo.run(options.directory, options.files, options.rows_per_file)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from . import bench

    parser.description = "Runs forebay beside the same loop without it, in turn, and prints rates and ratios."
    names = parser.add_subparsers(required=True, metavar="NAME")
    text = "Parquet files beside pyarrow.parquet's iter_batches"
    command = names.add_parser("parquet", help=text, description=f"Streams {text}.")
    command.set_defaults(command=_bench_parquet)
    data = command.add_mutually_exclusive_group()
    data.add_argument(
        "--data",
        nargs="+",
        metavar="SOURCE",
        help="files, directories or globs to read (default: made in a temporary folder)",
    )
    data.add_argument(
        "--rows",
        type=_positive,
        default=bench.PARQUET_ROWS,
        metavar="N",
        help="rows of the data that is made (default %(default)s)",
    )
    command.add_argument(
        "--columns",
        metavar="A,B,...",
        help="names of the columns to read, separated by commas (default: all)",
    )
    _add_bench_sizes(command, bench.PARQUET_BATCH, bench.PARQUET_ROUNDS)
    text = "small batches from memory beside slicing numpy arrays"
    command = names.add_parser("small", help=text, description=f"Streams {text}.")
    command.set_defaults(command=_bench_small)
    command.add_argument(
        "--rows",
        type=_positive,
        default=bench.SMALL_ROWS,
        metavar="N",
        help="rows in memory (default %(default)s)",
    )
    _add_bench_sizes(command, bench.SMALL_BATCH, bench.SMALL_ROUNDS)


def _add_bench_sizes(parser: argparse.ArgumentParser, batch_size: int, rounds: int) -> None:
    from . import bench

    add = parser.add_argument
    add(
        "--batch-size",
        type=_positive,
        default=batch_size,
        metavar="ROWS",
        help="rows of a batch (default %(default)s)",
    )
    add("--memory-limit", default=bench.MEMORY_LIMIT, metavar="SIZE", help="limit (default %(default)s)")
    add(
        "--rounds",
        type=_positive,
        default=rounds,
        metavar="N",
        help="times that each runs (default %(default)s)",
    )


def _bench_parquet(options: argparse.Namespace) -> None:
    from . import bench

    bench.parquet(
        options.data,
        rows=options.rows,
        columns=options.columns and options.columns.split(","),
        batch_size=options.batch_size,
        memory_limit=options.memory_limit,
        rounds=options.rounds,
    )


def _bench_small(options: argparse.Namespace) -> None:
    from . import bench

    bench.small(
        rows=options.rows,
        batch_size=options.batch_size,
        memory_limit=options.memory_limit,
        rounds=options.rounds,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
