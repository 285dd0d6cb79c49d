"""Arguments are checked at construction, before a file is opened: each mistake has its class and names its argument."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

import forebay
from forebay._arguments import check_bytes
from forebay._machine import default_memory_limit, memory_bytes, usable_processors

TABLE = pa.table({"a": [1, 2, 3], "b": [1.5, 2.5, 3.5], "s": ["x", "y", "z"]})

WRONG_TYPES = [
    ("batch_size", "4096"),
    ("batch_size", 4096.0),
    ("batch_size", True),
    ("columns", "a"),
    ("columns", b"a"),
    ("columns", 3),
    ("columns", ["a", 3]),
    ("batch_format", 1),
    ("memory_limit", 1.5),
    ("memory_limit", True),
    ("memory_limit", [1]),
    ("prefetch_batches", "2"),
    ("prefetch_batches", False),
    ("num_threads", 1.0),
    ("num_threads", True),
    ("preserve_order", 1),
    ("preserve_order", None),
    ("drop_last", "yes"),
    ("null_policy", None),
    ("fill_value", [("a", 1)]),
    ("fill_value", {1: 1}),
    ("timeout", "1"),
    ("timeout", True),
    ("close_timeout", None),
    ("progress", 1),
]

WRONG_VALUES = [
    ("batch_size", 0),
    ("batch_size", -1),
    ("batch_size", 1 << 63),
    ("columns", []),
    ("columns", ["a", "b", "a"]),
    ("batch_format", "torch"),
    ("memory_limit", 0),
    ("memory_limit", -1),
    ("memory_limit", "0"),
    ("memory_limit", "192 apples"),
    ("memory_limit", "-1MiB"),
    ("memory_limit", ""),
    ("memory_limit", 1 << 70),
    ("prefetch_batches", -1),
    ("num_threads", 0),
    ("num_threads", 1 << 20),
    ("null_policy", "drop"),
    ("timeout", 0),
    ("timeout", -1.0),
    ("timeout", float("nan")),
    ("timeout", float("inf")),
    ("close_timeout", -0.5),
]


def arguments(name, value):
    """Right arguments, but for one, which needs a null policy that takes it."""
    together = {"batch_size": 2, "null_policy": "mask"} | {name: value}
    return together


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_an_argument_of_a_wrong_type_is_a_type_error_before_the_source_is_looked_at(name, value):
    with pytest.raises(TypeError, match=name):
        forebay.Loader("/no/such/file", **arguments(name, value))


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_an_argument_out_of_range_is_a_value_error_before_the_source_is_looked_at(name, value):
    with pytest.raises(ValueError, match=name):
        forebay.Loader("/no/such/file", **arguments(name, value))


def test_without_a_batch_size_a_batch_is_a_block_of_the_source(parquet_set):
    table = pa.concat_tables([TABLE, TABLE.slice(0, 1), TABLE])
    with forebay.Loader(table, batch_size=None, preserve_order=True) as loader:
        assert len(loader) == 3
        assert [batch["a"].tolist() for batch in loader] == [[1, 2, 3], [1], [1, 2, 3]]
    with forebay.Loader(parquet_set.path, batch_size=None, preserve_order=True, num_threads=3) as loader:
        assert len(loader) == loader.plan().units == parquet_set.unit_count
        for number, batch in enumerate(loader):
            assert batch["id"].tolist() == list(
                range(number * parquet_set.group_rows, (number + 1) * parquet_set.group_rows)
            )
            parquet_set.check(batch)
    with pytest.raises(ValueError, match="drop_last"):
        forebay.Loader(table, batch_size=None, drop_last=True)


def test_arguments_but_the_source_are_keywords_and_batch_size_is_required():
    with pytest.raises(TypeError):
        forebay.Loader(TABLE, 2)
    with pytest.raises(TypeError, match="batch_size"):
        forebay.Loader(TABLE)


def test_an_argument_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="shuffle"):
        forebay.Loader(TABLE, batch_size=2, shuffle=True)


def test_numpy_integers_are_ints_and_numpy_bools_are_bools():
    with forebay.Loader(
        TABLE,
        batch_size=np.int64(2),
        num_threads=np.uint8(1),
        drop_last=np.bool_(True),
        prefetch_batches=np.int32(0),
    ) as loader:
        assert len(loader) == 1


@pytest.mark.parametrize("source", [None, 3, {"a": [1]}])
def test_a_source_of_another_kind_is_a_type_error_that_lists_the_kinds(source):
    with pytest.raises(TypeError, match=r"pyarrow\.Table"):
        forebay.Loader(source, batch_size=2)


def test_iter_batches_checks_its_arguments_when_it_is_called():
    with pytest.raises(ValueError, match="batch_size"):
        forebay.iter_batches(TABLE, batch_size=0)
    assert [batch["a"].tolist() for batch in forebay.iter_batches(TABLE, batch_size=2)] == [[1, 2], [3]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192MiB", 192 << 20),
        ("64MB", 64_000_000),
        ("1.5GiB", 3 << 29),
        (" 200 kB ", 200_000),
        ("10kib", 10240),
        ("4096", 4096),
        ("7B", 7),
        ("0.1TB", 10**11),
        (np.int64(5), 5),
        (123, 123),
    ],
)
def test_sizes_are_read_exactly(text, expected):
    assert check_bytes("memory_limit", text) == expected


def test_an_unknown_column_is_a_value_error_that_names_close_ones():
    table = pa.table({"dense_0": [1], "dense_1": [1], "label": [1]})
    with pytest.raises(ValueError, match=r"no column 'dens_1': did you mean .*'dense_1'"):
        forebay.Loader(table, batch_size=1, columns=["dens_1"])


def test_a_column_that_is_there_twice_is_refused_unless_others_are_chosen():
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "b"])
    with pytest.raises(ValueError, match="more than one column named 'a'"):
        forebay.Loader(table, batch_size=1)
    with forebay.Loader(table, batch_size=1, columns=["b"]) as loader:
        assert [batch["b"].tolist() for batch in loader] == [[3]]


def test_data_without_columns_is_refused():
    with pytest.raises(ValueError, match="no column"):
        forebay.Loader(pa.table({}), batch_size=1)


def test_fill_value_needs_a_null_policy_that_fills():
    with pytest.raises(ValueError, match="fill_value"):
        forebay.Loader(TABLE, batch_size=1, fill_value={"a": 1})


def test_fill_value_for_a_column_that_is_not_chosen_is_refused():
    with pytest.raises(ValueError, match="'b'"):
        forebay.Loader(TABLE, batch_size=1, columns=["a"], null_policy="fill", fill_value={"b": 1.0})


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [
        ("a", 1.5, TypeError),
        ("a", 1 << 64, ValueError),
        ("a", "x", TypeError),
        ("a", None, ValueError),
        ("a", True, TypeError),
        ("b", "x", TypeError),
        ("b", np.datetime64("NaT"), TypeError),
        ("t", np.datetime64("2026-01-01T00:00:01.5"), ValueError),
        ("t", np.timedelta64(1, "s"), TypeError),
        ("d", np.datetime64("2026-01-01T01"), ValueError),
        ("d", datetime.datetime(2026, 1, 1, 5), ValueError),
        ("t", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), ValueError),
        ("t", 5, TypeError),
        ("s", b"x", TypeError),
        ("s", 1, TypeError),
    ],
)
def test_a_fill_value_that_the_column_cannot_hold_is_refused(column, value, error):
    table = TABLE.append_column("t", pa.array([0] * 3, pa.timestamp("s"))).append_column(
        "d", pa.array([0] * 3, pa.date64())
    )
    with pytest.raises(error, match="fill_value"):
        forebay.Loader(table, batch_size=1, null_policy="fill", fill_value={column: value})


FILLS = [
    (pa.int8(), -5, np.int8(-5)),
    (pa.uint64(), (1 << 64) - 1, np.uint64((1 << 64) - 1)),
    (pa.int32(), np.int64(7), np.int32(7)),
    (pa.float16(), np.float16(0.5), np.float16(0.5)),
    (pa.float32(), 2.5, np.float32(2.5)),
    (pa.float64(), float("-inf"), np.float64("-inf")),
    (pa.bool_(), True, np.True_),
    (pa.date32(), np.datetime64("2026-01-02"), np.datetime64("2026-01-02", "D")),
    (pa.date64(), np.datetime64("2026-01-02"), np.datetime64("2026-01-02", "ms")),
    (
        pa.timestamp("us"),
        np.datetime64("2026-01-02T03:04:05", "us"),
        np.datetime64("2026-01-02T03:04:05", "us"),
    ),
    (pa.timestamp("ns", "Europe/Paris"), np.datetime64(5, "ns"), np.datetime64(5, "ns")),
    (pa.duration("ms"), np.timedelta64(9, "ms"), np.timedelta64(9, "ms")),
    (pa.timestamp("ms"), datetime.datetime(2026, 1, 2, 3), np.datetime64("2026-01-02T03", "ms")),
    (pa.date32(), datetime.date(2026, 1, 2), np.datetime64("2026-01-02", "D")),
    (
        pa.timestamp("s", "UTC"),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        np.datetime64("2026-01-02", "s"),
    ),
    (pa.duration("us"), datetime.timedelta(seconds=1), np.timedelta64(10**6, "us")),
    (pa.float16(), np.float32(2), np.float16(2)),
    (pa.time32("s"), datetime.time(0, 1), np.timedelta64(60, "s")),
    (pa.list_(pa.float32(), 2), 0.25, np.array([0.25, 0.25], np.float32)),
    (pa.string(), "naïve", "naïve"),
    (pa.large_binary(), b"\x00\x01", b"\x00\x01"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), FILLS, ids=[str(kind) for kind, _, _ in FILLS])
def test_a_fill_value_stands_where_the_null_was(kind, value, expected):
    table = pa.table({"x": pa.array([None, None], kind)})
    with forebay.Loader(table, batch_size=2, null_policy="fill", fill_value={"x": value}) as loader:
        [batch] = list(loader)
    column = batch["x"]
    if not isinstance(column, forebay.ArrowColumn):
        assert column.dtype == np.asarray(expected).dtype
    assert len(column) == 2
    assert all(np.array_equal(element, expected) for element in column)


def test_a_fill_value_of_not_a_time_is_not_a_time():
    table = pa.table({"x": pa.array([None, 0], pa.timestamp("s"))})
    with forebay.Loader(
        table, batch_size=2, null_policy="fill", fill_value={"x": np.datetime64("NaT")}
    ) as loader:
        [batch] = list(loader)
    assert np.isnat(batch["x"]).tolist() == [True, False]


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_default_limit_is_an_eighth_of_what_control_groups_grant_and_at_most_1_gib(tmp_path):
    machine = memory_bytes(tmp_path)
    assert default_memory_limit(tmp_path) == min(1 << 30, machine // 8)
    write(tmp_path, "proc/self/cgroup", "0::/outer/inner\n")
    write(tmp_path, "sys/fs/cgroup/outer/inner/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/outer/memory.max", f"{256 << 20}\n")
    assert default_memory_limit(tmp_path) == 32 << 20


def test_the_first_version_of_control_groups_counts_too(tmp_path):
    write(tmp_path, "proc/self/cgroup", "4:cpu,cpuacct:/job\n7:memory:/job\n")
    write(tmp_path, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{64 << 20}\n")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert default_memory_limit(tmp_path) == 8 << 20
    assert usable_processors(tmp_path) == 1


def test_the_quota_of_processors_is_rounded_up_and_never_raises_their_number(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    everything = usable_processors(tmp_path)
    write(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert usable_processors(tmp_path) == everything
    write(tmp_path, "sys/fs/cgroup/cpu.max", "20000 100000\n")
    assert usable_processors(tmp_path) == 1
    write(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert usable_processors(tmp_path) == min(2, everything)
    write(tmp_path, "sys/fs/cgroup/cpu.max", "99900000 100000\n")
    assert usable_processors(tmp_path) == everything


def test_each_iter_begins_the_next_epoch_and_set_epoch_says_which():
    with forebay.Loader(TABLE, batch_size=2) as loader:
        assert loader.epoch == 0
        list(loader)
        assert loader.epoch == 1
        loader.set_epoch(7)
        assert loader.epoch == 7
        list(loader)
        assert loader.epoch == 8
        for wrong, error in ((-1, ValueError), (1.0, TypeError), (True, TypeError)):
            with pytest.raises(error, match="epoch"):
                loader.set_epoch(wrong)
