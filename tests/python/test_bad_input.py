"""Bad input is a clear error of the right class: never a crash, a hang, or something left behind."""

from __future__ import annotations

import decimal
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from arrow_cases import KINDS, build_chunks, random_column

import forebay

# What the tests open is closed in the end.
pytestmark = pytest.mark.usefixtures("module_process")

TABLE = pa.table({"a": [1, 2, 3, 4, 5], "s": ["x", "y", None, "z", ""]})

# ---- arguments -----------------------------------------------------------------------------------------------------

HOSTILE = [
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    1 << 31,
    1 << 62,
    1 << 64,
    -(1 << 70),
    10**400,
    10**5000,
    1.0,
    -0.5,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "a",
    "64MiB",
    "-1",
    "\0",
    "9" * 5000,
    "\ud800",
    b"a",
    [],
    ["a"],
    ["a", "a"],
    ["a\0"],
    [None],
    ("s", "a"),
    {},
    {"a": 7},
    {"a": "x"},
    {"s": "x"},
    {"nothing": 1},
    {1: 1},
    object(),
    int,
    decimal.Decimal(2),
    np.int8(3),
    np.uint64(3),
    np.int64(-3),
    np.float32(2),
    np.float64("nan"),
    np.bool_(True),
    np.str_("fill"),
    np.array(3),
    np.array([1, 2]),
    np.array(["a"]),
    np.datetime64("NaT"),
    "error",
    "fill",
    "mask",
    "numpy",
    "torch",
]

NAMES = [
    "batch_size",
    "columns",
    "batch_format",
    "memory_limit",
    "prefetch_batches",
    "num_threads",
    "preserve_order",
    "drop_last",
    "null_policy",
    "fill_value",
    "timeout",
    "close_timeout",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_value_of_an_argument_is_taken_or_refused_by_name(name: str) -> None:
    for value in HOSTILE:
        check_argument(name, value)


def check_argument(name: str, value: Any) -> None:
    arguments = {"batch_size": 2, "null_policy": "fill", "timeout": 60} | {name: value}
    try:
        loader = forebay.Loader(TABLE, **arguments)
    except forebay.MemoryLimitError as error:
        assert name == "memory_limit" and error.required > error.limit == int(value)
        return
    except (TypeError, ValueError) as error:
        assert type(error) in (TypeError, ValueError)
        assert name in str(error) or (name == "columns" and "no column" in str(error))
        assert len(str(error)) < 6000
        return
    with loader:
        # Some of these timeouts are too short for anything.
        if name != "timeout" and arguments["null_policy"] != "error":
            assert sum(len(next(iter(batch.values()))) for batch in loader) == loader.plan().rows


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [object(), np.array([1, 2]), decimal.Decimal(2), [object()]], ids=repr)
def test_a_wrong_argument_is_refused_before_the_source_is_looked_at(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **keywords: Any) -> Any:
        raise AssertionError("the source was looked at")

    monkeypatch.setattr(forebay._paths, "find_files", fail)
    monkeypatch.setattr(forebay._sources, "MemoryProvider", fail)
    for source in ("data.parquet", TABLE):
        with pytest.raises((TypeError, ValueError), match=name):
            forebay.Loader(source, **({"batch_size": 2, "null_policy": "fill"} | {name: value}))


@pytest.mark.parametrize("value", [(1 << 62) - 1, "4194303TiB", np.int64(1 << 40)])
def test_a_huge_limit_is_only_a_limit(value: Any) -> None:
    with forebay.Loader(TABLE, batch_size=5, null_policy="mask", memory_limit=value) as loader:
        assert [batch["a"].tolist() for batch in loader] == [[1, 2, 3, 4, 5]]


def test_a_limit_of_one_byte_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(forebay.MemoryLimitError) as caught:
        forebay.Loader(TABLE, batch_size=5, memory_limit=1)
    assert caught.value.limit == 1
    forebay.Loader(TABLE, batch_size=5, memory_limit=caught.value.required).close()


@pytest.mark.parametrize("path", ["\0", "a\0b.parquet", b"a\0", "\ud800.parquet", "", b""], ids=ascii)
def test_a_path_that_cannot_be_one_is_a_value_error(path: Any) -> None:
    for source in (path, ["a.parquet", path]):
        with pytest.raises(ValueError, match="source holds") as caught:
            forebay.Loader(source, batch_size=1)
        assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    "path", ["x" * 5000, "x/" * 3000 + "x", "~nobody/a.parquet", "[", "*[!", "a.parquet/b"], ids=len
)
def test_a_path_that_is_not_there_is_a_source_error(path: str, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    full = str(tmp_path / path)
    with pytest.raises(forebay.SourceError) as caught:
        forebay.Loader(full, batch_size=1)
    assert caught.value.path == full
    assert isinstance(caught.value, OSError)


def test_a_column_whose_name_the_core_cannot_be_told_is_refused() -> None:
    table = pa.table({"a\0b": [1], "c": [2]})
    with pytest.raises(ValueError, match="null character"):
        forebay.Loader(table, batch_size=1)
    forebay.Loader(table, batch_size=1, columns=["c"]).close()


def test_a_long_name_does_not_push_the_reason_out_of_the_message() -> None:
    table = pa.table([UNSUPPORTED["month-day-nano interval"]], names=["é" * 5000])
    with pytest.raises(forebay.UnsupportedError, match="é.* has type month-day.*columns="):
        forebay.Loader(table, batch_size=1)


# ---- types that are not read ---------------------------------------------------------------------------------------


def _extension(kind: pa.DataType, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


_INTERVALS = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
_UNION = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])

UNSUPPORTED = {
    "dense union": _UNION,
    "sparse union": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    "month-day-nano interval": _INTERVALS,
    "month-day-nano interval ": pa.FixedSizeListArray.from_arrays(_INTERVALS, 1),
    "month-day-nano interval  ": pa.ListArray.from_arrays([0, 1], _INTERVALS),
    "month-day-nano interval   ": pa.MapArray.from_arrays([0, 1], pa.array(["k"]), _INTERVALS),
    "dense union ": pa.ListArray.from_arrays([0, 1], _UNION),
    "union": _extension(pa.opaque(_UNION.type, "union", "tests"), _UNION),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_type_that_is_not_read_is_refused_by_column_and_type(name: str) -> None:
    table = pa.table({"fine": [1], "culprit": UNSUPPORTED[name]})
    for source in (table, table.to_batches()[0], table.slice(0, 0)):
        with pytest.raises(
            forebay.UnsupportedError, match=f"'culprit.*' has type .*{name.strip()}.*columns="
        ) as caught:
            forebay.Loader(source, batch_size=1)
        assert isinstance(caught.value, (forebay.SourceError, NotImplementedError))
        with forebay.Loader(source, batch_size=1, columns=["fine"]) as loader:
            assert loader.schema.names == ["fine"]


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.int32(), pa.int64()),
        (pa.int32(), pa.uint32()),
        (pa.float32(), pa.float64()),
        (pa.string(), pa.binary()),
        (pa.timestamp("ms"), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Paris")),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3)),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int16(), 2)),
        (pa.list_(pa.int8(), 2), pa.int8()),
        (pa.date32(), pa.timestamp("ms")),
    ],
    ids=str,
)
def test_files_that_differ_in_a_type_are_an_error_naming_both_and_the_column(
    first: pa.DataType, second: pa.DataType, tmp_path: Path
) -> None:
    for name, kind in (("1", first), ("2", first), ("3", second)):
        table = pa.table({"same": [1], "unlike": pa.nulls(1, kind)})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(forebay.SourceError, match="unlike") as caught:
        forebay.Loader(tmp_path, batch_size=1)
    message = str(caught.value)
    for name in ("1", "3"):
        path = tmp_path / f"{name}.parquet"
        assert f"{pq.read_schema(path).field('unlike').type} in {path}" in message
    with forebay.Loader(tmp_path, batch_size=1, columns=["same"]) as loader:
        assert len(list(loader)) == 3


def test_pipes_and_devices_are_errors_and_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "a.parquet"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises(forebay.SourceError, match="not a file") as caught:
            forebay.Loader(path, batch_size=1)
        assert caught.value.path in (str(pipe), str(path))


def test_a_link_to_nowhere_and_a_circle_of_links_are_errors_that_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "nowhere.parquet").symlink_to(tmp_path / "gone.parquet")
    with pytest.raises(forebay.SourceError, match=r"nowhere\.parquet"):
        forebay.Loader(tmp_path, batch_size=1)
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(forebay.SourceError, match="circle"):
        forebay.Loader(circle, batch_size=1)


def mixed_file(path: Path, **options: Any) -> bytes:
    """A small file with columns of many types, its rows in three groups; returns what is in it."""
    random = np.random.default_rng(0)
    chosen = [kind for kind in KINDS if kind.list_size != 0][::7]
    table = pa.table(
        {
            f"c{number}": build_chunks(random_column(kind, 60, random, "few", tame=True), [], random)
            for number, kind in enumerate(chosen)
        }
    )
    pq.write_table(
        table, path, **({"row_group_size": 25, "data_page_size": 64, "write_page_index": True} | options)
    )
    return path.read_bytes()


def test_a_file_cut_at_every_fiftieth_length_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    content = mixed_file(path)
    forebay.Loader(path, batch_size=1).close()
    for length in [*range(0, len(content), 50), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(forebay.SourceError) as caught:
            forebay.Loader(path, batch_size=1)
        assert caught.value.path == str(path)
        assert str(path) in str(caught.value)
        assert type(caught.value) is forebay.SourceError


def test_a_whole_file_with_something_behind_it_or_missing_before_it_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    content = mixed_file(path)
    for damaged in (content + b"\0", content + b"\0" * 4096, content[:-4] + b"PAR2", b"PAR1", b"PAR1" * 3):
        path.write_bytes(damaged)
        with pytest.raises(forebay.SourceError, match=r"a\.parquet"):
            forebay.Loader(path, batch_size=1)
    path.write_bytes(content[100:])  # offsets of the footer point past what they mean
    with pytest.raises(forebay.SourceError, match=r"a\.parquet"):
        list(forebay.iter_batches(path, batch_size=10, null_policy="fill", timeout=60))


# A crash of the library that decodes would end the tests: damaged files are read in a process of their own.
READ_DAMAGED = """
import collections, json, os, sys
import numpy as np, pyarrow as pa
import forebay

path, seed, compression = sys.argv[1], int(sys.argv[2]), sys.argv[3]
content = open(path, "rb").read()
random = np.random.default_rng(seed)
footer = int.from_bytes(content[-8:-4], "little") + 8
ends = collections.Counter()

def read(damaged):
    with open(path, "wb") as file:
        file.write(damaged)
    arguments = dict(batch_size=16, null_policy="mask", memory_limit="64MiB", timeout=20, num_threads=2)
    try:
        with forebay.Loader(path, **arguments) as loader:
            rows = 0
            for batch in loader:
                lengths = set()
                for name, column in batch.items():
                    lengths.add(len(column[1]) - 1 if isinstance(column, tuple) else len(column))
                    if isinstance(column, forebay.ArrowColumn):
                        pa.array(column).validate()
                rows += lengths.pop()
                if lengths:
                    return "uneven columns"
            if rows != loader.plan().rows:
                return "wrong rows"
    except forebay.SourceError as error:
        in_file = path in str(error) and error.path == path
        return "SourceError" if in_file or isinstance(error, NotImplementedError) else repr(error)
    except forebay.MemoryLimitError as error:
        return "MemoryLimitError"
    except BaseException as error:
        return repr(error)
    return "read"

def threads():
    names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
    return len([name for name in names if "jemalloc" not in name])

read(content)
before = len(os.listdir("/proc/self/fd"))
threads_before = threads()
for number in range(200):
    damaged = bytearray(content)
    begin = len(content) - footer if number % 2 else 0
    for _ in range(1 + number % 3):
        at = int(random.integers(begin, len(content) - 8))
        damaged[at] = int(random.choice([damaged[at] ^ 1 << int(random.integers(8)), 0, 0x7F, 0xFF]))
    print("example", number, flush=True, file=sys.stderr)
    ends[read(bytes(damaged))] += 1
    ends["left open"] += len(os.listdir("/proc/self/fd")) - before
    before = len(os.listdir("/proc/self/fd"))
ends["left running"] = threads() - threads_before
print(json.dumps(ends))
"""


@pytest.mark.parametrize(
    ("compression", "options"),
    [
        ("none", {"use_dictionary": False}),
        ("snappy", {"data_page_version": "2.0"}),
        ("zstd", {"write_page_checksum": True, "write_statistics": False}),
    ],
)
def test_flipped_bytes_are_read_or_are_an_error_that_names_the_file(
    compression: str, options: dict[str, Any], tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    path = tmp_path / "a.parquet"
    mixed_file(path, compression=compression, **options)
    ended = run_python(READ_DAMAGED, path, 1, compression)
    assert ended.code == 0, ended.errors[-2000:]
    ends = json.loads(ended.output)
    assert ends.pop("left open") == 0
    assert ends.pop("left running") == 0
    assert ends.keys() <= {"read", "SourceError", "MemoryLimitError"}, ends
    assert ends["SourceError"] > 20 and ends["read"] > 20


def test_footers_of_random_bytes_are_errors_that_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    random = np.random.default_rng(0)
    for _ in range(200):
        footer = random.bytes(int(random.integers(1, 200)))
        path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
        with pytest.raises(forebay.SourceError) as caught:
            forebay.Loader(path, batch_size=1)
        assert caught.value.path == str(path)


@pytest.mark.parametrize("length", [0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_footer_of_an_impossible_length_is_an_error(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 50 + length.to_bytes(4, "little") + b"PAR1")
    with pytest.raises(forebay.SourceError, match=r"a\.parquet") as caught:
        forebay.Loader(path, batch_size=1)
    assert caught.value.path == str(path)


def test_the_first_of_many_bad_files_does_not_hide_where_it_is(tmp_path: Path) -> None:
    for number in range(40):
        pq.write_table(pa.table({"a": [number]}), tmp_path / f"{number:02d}.parquet")
    damaged = tmp_path / "23.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    for number in (37, 39):
        (tmp_path / f"{number}.parquet").write_text("not Parquet")
    with pytest.raises(forebay.SourceError) as caught:
        forebay.Loader(tmp_path, batch_size=1, num_threads=4)
    assert caught.value.path == str(damaged)
