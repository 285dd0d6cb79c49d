"""`forebay inspect`: what a source holds and what a loader would make of it, whatever its columns are."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import forebay
from forebay import _inspect, _parquet_survey
from forebay.cli import main

PLAIN = {
    "id": pa.array(range(1000)),
    "label": pa.array([True, False] * 500),
    "when": pa.array(range(1000), pa.timestamp("us", tz="UTC")),
    "day": pa.array(range(1000), pa.date32()),
    "emb": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4000, np.float32)), 4),
    "word": pa.array([f"word {i}" for i in range(1000)]),
    "half": pa.array(np.zeros(1000, np.float16)),
}
PERMUTED = pa.fixed_shape_tensor(pa.int8(), [2, 2], permutation=[1, 0])
REFUSED = {
    "scale": pa.ExtensionArray.from_storage(PERMUTED, pa.array([[1, 2, 3, 4]] * 1000, pa.list_(pa.int8(), 4)))
}


@pytest.fixture(autouse=True)
def a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def folder(tmp_path):
    """Two files in folders of a key, each with a column that cannot be in a batch."""
    for key in ("a", "b"):
        (tmp_path / f"key={key}").mkdir()
        pq.write_table(
            pa.table(PLAIN | REFUSED), tmp_path / f"key={key}" / "part.parquet", row_group_size=300
        )
    return tmp_path


@pytest.fixture
def refusing(monkeypatch):
    """Columns called "scale" are refused, whatever types the core learns."""
    original = _inspect._reason_against
    monkeypatch.setattr(
        _inspect,
        "_reason_against",
        lambda field: "column 'scale' cannot be" if field.name == "scale" else original(field),
    )


def run(capsys, *arguments):
    """(exit status, stdout, stderr) of `forebay inspect`."""
    try:
        status = main(["inspect", *(str(argument) for argument in arguments)])
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def inspect(capsys, *arguments):
    """The figures that --json prints."""
    status, out, err = run(capsys, *arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def line_of(out, name):
    [line] = [line for line in out.splitlines() if line.startswith(f"{name} ")]
    return re.split(r"\s{2,}", line)


def test_it_shows_totals_files_columns_and_memory(capsys, folder, refusing):
    status, out, err = run(capsys, folder, "--batch-size", 100)
    assert (status, err) == (0, "")
    assert line_of(out, "source")[1].startswith("2 files, 8 row groups, 2,000 rows, ")
    assert line_of(out, "row groups") == ["row groups", "300 rows at most"]
    assert line_of(out, "columns")[1] == "9: 6 read by forebay, 1 by pyarrow, 1 by folder, 1 refused"
    assert line_of(out, "batches")[1].startswith("20 of 100 rows, ")
    assert "is the least; the default limit is" in line_of(out, "memory")[1]
    assert f"file in {folder}"[:20] in out
    assert line_of(out, "key=a/part.parquet")[1:3] == ["4", "1,000"]
    assert line_of(out, "id")[1:] == ["int64", "yes", "int64 (n,)", "forebay"]
    assert line_of(out, "emb")[1:] == ["float[4]", "yes", "float32 (n, 4)", "forebay"]
    assert line_of(out, "word")[1:] == ["string", "yes", "ArrowColumn", "pyarrow"]
    assert line_of(out, "key")[1:] == ["string", "yes", "ArrowColumn", "folder"]
    assert line_of(out, "scale")[2:] == ["yes", "refused", "-"]
    assert "refused: column 'scale' cannot be" in out


def test_a_type_that_the_core_refuses_is_shown_with_its_reason(capsys, folder):
    found = {column["name"]: column for column in inspect(capsys, folder)["columns"]}
    with pytest.raises(forebay.UnsupportedError) as caught:
        forebay.Loader(pa.table(REFUSED), batch_size=1)
    assert found["scale"]["refused"] + ": leave it out with columns=" == str(caught.value)
    assert found["scale"]["arrays"] == [] and found["scale"]["read_by"] is None
    assert all(column["refused"] is None for name, column in found.items() if name != "scale")


def test_what_it_says_of_columns_is_what_batches_hold(capsys, folder):
    found = inspect(capsys, folder, "--columns", ",".join([*PLAIN, "key"]), "--batch-size", 64)
    with forebay.Loader(folder, batch_size=64, columns=[*PLAIN, "key"]) as loader:
        plan = loader.plan()
        batch = next(iter(loader))
        assert [column["name"] for column in found["columns"]] == loader.schema.names
        assert [column["type"] for column in found["columns"]] == [str(kind) for kind in loader.schema.types]
    for column in found["columns"]:
        [array] = column["arrays"]
        value = batch[column["name"]]
        if isinstance(value, forebay.ArrowColumn):
            assert array == {"name": column["name"], "kind": "ArrowColumn", "shape": []}
        else:
            assert array["kind"] == str(value.dtype)
            assert array["shape"] == ["rows", *value.shape[1:]]
    assert (found["batches"], found["rows"]) == (plan.batches, plan.rows)
    assert found["batch_bytes"] == plan.batch_bytes


def test_the_least_memory_is_the_least_that_a_loader_takes(capsys, folder):
    columns = ["id", "emb"]  # with strings it is an estimate
    least = inspect(capsys, folder, "--columns", ",".join(columns), "--batch-size", 64)["least_memory_bytes"]
    with forebay.Loader(folder, batch_size=64, columns=columns, memory_limit=least) as loader:
        assert sum(len(batch["id"]) for batch in loader) == 2000
    with pytest.raises(forebay.MemoryLimitError):
        forebay.Loader(folder, batch_size=64, columns=columns, memory_limit=least - 1)


def test_nested_columns_are_shown_as_they_are_in_batches(capsys, tmp_path):
    table = pa.table(
        {
            "list": pa.array([[1.0]], pa.list_(pa.float32())),
            "pair": [{"a": 1, "b": "x"}],
            "pairs": pa.array([[{"a": 1, "b": "x"}]]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = {column["name"]: column["arrays"] for column in inspect(capsys, tmp_path)["columns"]}
    [batch] = forebay.iter_batches(tmp_path, batch_size=1)
    assert sorted(array["name"] for arrays in found.values() for array in arrays) == sorted(batch)
    values, offsets = batch["list"]
    assert found["list"][0]["kind"] == f"({values.dtype}, {offsets.dtype})"
    assert [array["kind"] for array in found["pair"]] == ["int64", "ArrowColumn"]
    assert found["pairs"][0]["kind"] == f"({{a: int64, b: ArrowColumn}}, {batch['pairs'][1].dtype})"
    _, out, _ = run(capsys, tmp_path)
    assert line_of(out, "pair")[3] == "2 entries" and max(map(len, out.splitlines())) <= 80


def test_a_plan_that_does_not_fit_the_default_limit_is_shown(capsys, folder, monkeypatch):
    monkeypatch.setattr(_inspect, "default_memory_limit", lambda: 4096)
    status, out, _ = run(capsys, folder, "--columns", "id")
    assert status == 0
    assert "the default limit is 4.0 KiB: give memory_limit" in out


def test_figures_of_files_are_those_of_their_footers(capsys, folder):
    found = inspect(capsys, folder)
    metadata = [fragment.metadata for fragment in ds.dataset(folder).get_fragments()]
    assert found["files"] == len(metadata)
    assert found["rows"] == sum(one.num_rows for one in metadata)
    assert found["row_groups"] == sum(one.num_row_groups for one in metadata)
    assert found["stored_bytes"] == sum(os.path.getsize(file["path"]) for file in found["per_file"])
    assert [(file["rows"], file["row_groups"]) for file in found["per_file"]] == [(1000, 4)] * 2
    assert found["largest_row_group_rows"] == 300


def test_no_page_is_read(capsys, folder):
    path = folder / "key=a" / "part.parquet"
    before = inspect(capsys, folder, "--columns", "id")
    data = bytearray(path.read_bytes())
    data[4:40] = bytes(36)
    path.write_bytes(data)
    assert inspect(capsys, folder, "--columns", "id")["rows"] == before["rows"]


def test_columns_are_chosen_in_order(capsys, folder):
    found = inspect(capsys, folder, "--columns", "key,word")
    assert [column["name"] for column in found["columns"]] == ["key", "word"]
    found = inspect(capsys, folder, "--no-partitioning")
    assert "key" not in [column["name"] for column in found["columns"]]


def test_nulls_are_possible_where_the_schema_says_so(capsys, tmp_path):
    schema = pa.schema([pa.field("never", pa.int64(), nullable=False), pa.field("perhaps", pa.int64())])
    pq.write_table(pa.table({"never": [1], "perhaps": [1]}, schema=schema), tmp_path / "a.parquet")
    _, out, _ = run(capsys, tmp_path)
    assert line_of(out, "never")[2] == "no" and line_of(out, "perhaps")[2] == "yes"


# ---- columns that cannot be read -----------------------------------------------------------------------------------


def test_columns_of_one_name_are_refused_and_the_rest_is_planned(capsys, tmp_path):
    pq.write_table(pa.table([[1], [2], [3]], names=["twice", "twice", "once"]), tmp_path / "a.parquet")
    found = inspect(capsys, tmp_path)
    assert [(column["name"], column["refused"] is None) for column in found["columns"]] == [
        ("once", True),
        ("twice", False),
    ]
    assert found["batches"] == 1
    assert run(capsys, tmp_path, "--columns", "twice")[0] == 2


def test_a_column_of_a_codec_that_is_not_read_is_refused_and_the_rest_is_planned(capsys, folder, monkeypatch):
    original = _parquet_survey._check_codec

    def refuse(path, column, codec):
        if column == "word":
            raise forebay.UnsupportedError(f"{path}: column 'word' is compressed with LZO", path=path)
        original(path, column, codec)

    monkeypatch.setattr(_parquet_survey, "_check_codec", refuse)
    found = {column["name"]: column for column in inspect(capsys, folder)["columns"]}
    assert "LZO" in found["word"]["refused"]
    assert found["id"]["read_by"] == "forebay" and found["key"]["read_by"] == "folder"


def test_a_source_of_refused_columns_alone_has_no_plan(capsys, tmp_path):
    pq.write_table(pa.table(REFUSED), tmp_path / "a.parquet")
    status, out, _ = run(capsys, tmp_path)
    assert status == 0
    assert "none: every column is refused" in out and "refused: column 'scale'" in out
    found = inspect(capsys, tmp_path)
    assert found["batches"] is found["least_memory_bytes"] is found["batch_bytes"] is None
    assert found["rows"] == 1000


def test_a_source_without_rows_is_shown(capsys, tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    status, out, _ = run(capsys, tmp_path)
    assert status == 0
    assert line_of(out, "source")[1].startswith("1 file, 0 row groups, 0 rows, ")
    assert inspect(capsys, tmp_path)["batches"] == 0


# ---- bad files and mistakes ----------------------------------------------------------------------------------------


def test_bad_files_are_left_out_where_that_is_asked_for(capsys, folder):
    path = folder / "key=a" / "bad.parquet"
    path.write_text("no Parquet")
    status, out, err = run(capsys, folder)
    assert (status, out) == (2, "")
    assert str(path) in err and err.count("\n") == 1
    status, out, err = run(capsys, folder, "--on-bad-file", "skip")
    assert (status, err) == (0, "")
    assert line_of(out, "bad files") == ["bad files", "1 left out"]
    assert "bad.parquet is left out: not a Parquet file" in " ".join(out.split())
    status, out, err = run(capsys, folder, "--on-bad-file", "warn")
    assert status == 0 and err.count("is left out") == 1
    found = inspect(capsys, folder, "--on-bad-file", "skip")
    assert found["bad_files"] == 1 and found["bad_file_paths"][0][0] == str(path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{}/nowhere"], "no such file or directory"),
        (["{}", "--columns", "idd"], "did you mean 'id'"),
        (["{}", "--columns", "id,id"], "names 'id' more than once"),
        (["{}", "--batch-size", "0"], "batch_size must be at least 1"),
        (["{}", "--batch-size", "x"], "invalid int value"),
        (["{}", "--on-bad-file", "ignore"], "invalid choice: 'ignore'"),
        ([], "SOURCE"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy_and_exit_status_2(capsys, folder, arguments, expected):
    status, out, err = run(capsys, *[argument.format(folder) for argument in arguments])
    assert status == 2
    assert out == ""
    assert err.startswith("forebay: ") and err.count("\n") == 1
    assert re.search(expected, err)


# ---- how it looks --------------------------------------------------------------------------------------------------


def test_lines_fit_80_columns_and_hold_no_control_characters(capsys, tmp_path):
    folder = tmp_path / ("a very long name of a folder " * 3) / "k=1"
    folder.mkdir(parents=True)
    table = {
        "x" * 200: [1],
        "with a \n line \x1b[31m and colour": [1],
        "short": pa.array([[1.0]], pa.list_(pa.float64(), 1)),
        "nested": [{"a_field_with_a_name": {"another_field": [1, 2]}}],
        "word": ["a"],
    }
    for number in range(25):
        pq.write_table(pa.table(table), folder / f"a long name of a file, number {number:05}.parquet")
    (folder / "bad.parquet").touch()
    status, out, _ = run(capsys, tmp_path, "--on-bad-file", "skip")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    assert out.replace("\n", "").isprintable()
    assert "and 15 more files" in out
    assert line_of(out, "word")[1:] == ["string", "yes", "ArrowColumn", "pyarrow"]


def test_a_wide_schema_stays_readable(capsys, tmp_path):
    table = {f"dense_{i}": [1.0] for i in range(600)} | {f"{i}_cat": [i] for i in range(300)}
    table |= {
        "".join(chr(97 + int(digit)) for digit in f"{i:03}"): [i] if i % 2 else ["s"] for i in range(100)
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    _, out, _ = run(capsys, tmp_path)
    assert len(out.splitlines()) < 80
    assert max(map(len, out.splitlines())) <= 80
    assert line_of(out, "dense_0 .. dense_599 (600)")[1:] == ["double", "yes", "float64 (n,)", "forebay"]
    assert line_of(out, "0_cat .. 299_cat (300)")[1] == "int64"
    assert "and 42 more lines: --json lists every column" in out
    assert len(inspect(capsys, tmp_path)["columns"]) == 1000


def test_columns_that_are_not_alike_are_not_put_together(capsys, tmp_path):
    pq.write_table(
        pa.table({"c0": [1], "c1": [1], "c2": [1], "d0": [1], "d1": [1.0], "d2": [1], "d3": [1]}),
        tmp_path / "a.parquet",
    )
    _, out, _ = run(capsys, tmp_path)
    for name in ("c0", "c1", "c2", "d0", "d1", "d2", "d3"):
        assert line_of(out, name)


def test_a_wider_terminal_is_used(capsys, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    name = "a" * 100
    pq.write_table(pa.table({name: [1]}), folder / "wide.parquet")
    _, out, _ = run(capsys, folder / "wide.parquet")
    assert name in out


def test_files_of_relative_and_absolute_paths_are_shown_whole(capsys, folder, monkeypatch):
    monkeypatch.chdir(folder)
    one, other = "key=a/part.parquet", folder / "key=b" / "part.parquet"
    status, out, _ = run(capsys, one, other)
    assert status == 0
    assert line_of(out, one)[1] == "4"


def test_the_module_is_a_command_without_colours(folder):
    command = [sys.executable, "-m", "forebay", "inspect", str(folder)]
    environment = os.environ | {"COLUMNS": "80", "FORCE_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_it_leaves_nothing_open(capsys, folder, process):
    inspect(capsys, folder)
