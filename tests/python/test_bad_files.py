"""on_bad_file: files that cannot be read are an error, or are left out, counted and named."""

import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay
from forebay import cli

GOOD = 10


def damage_footer(path):
    """Keeps the magic at both ends."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[-8:-4], "little")
    data[-8 - length : -8] = bytes(length)
    path.write_bytes(data)


BAD = {
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "text": (lambda path: path.write_text("a,b\n1,2\n"), "not a Parquet file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-50]), "truncated"),
    "damaged footer": (damage_footer, ""),
    "encrypted": (lambda path: path.write_bytes(path.read_bytes()[:-4] + b"PARE"), "encrypted"),
    "lacks a column": (lambda path: pq.write_table(pa.table({"b": [1.0]}), path), "has no column 'a'"),
    "another type": (
        lambda path: pq.write_table(pa.table({"a": ["x"], "b": [1.0]}), path),
        "column 'a' is string",
    ),
    "one more column": (
        lambda path: pq.write_table(pa.table({"a": [1], "b": [1.0], "c": [1]}), path),
        "has no column 'c'",
    ),
    "unreadable": (lambda path: (path.unlink(), path.symlink_to("nowhere")), "No such file"),
}


@pytest.fixture
def files(tmp_path):
    """Ten good files of ten rows, numbered through."""
    paths = [tmp_path / f"{number}.parquet" for number in range(GOOD)]
    for number, path in enumerate(paths):
        start = number * 10
        pq.write_table(
            pa.table({"a": range(start, start + 10), "b": np.arange(10.0)}), path, row_group_size=4
        )
    return paths


def spoil(path, kind):
    BAD[kind][0](path)
    return BAD[kind][1]


def read(source, **arguments):
    with forebay.Loader(source, batch_size=7, preserve_order=True, **arguments) as loader:
        rows = [value for batch in loader for value in batch["a"].tolist()]
        return rows, loader.stats()


def rows_of(*numbers):
    return [row for number in numbers for row in range(number * 10, number * 10 + 10)]


@pytest.mark.parametrize("place", [0, 4, 9])
@pytest.mark.parametrize("kind", set(BAD) - {"lacks a column", "another type", "one more column"})
def test_a_bad_file_is_left_out_wherever_it_is(files, kind, place):
    reason = spoil(files[place], kind)
    folder = files[0].parent
    with pytest.raises(forebay.SourceError) as caught:
        forebay.Loader(folder, batch_size=7)
    assert caught.value.path == str(files[place])
    rows, stats = read(folder, on_bad_file="skip")
    assert rows == rows_of(*(number for number in range(GOOD) if number != place))
    assert stats.bad_files == 1
    [(path, why)] = stats.bad_file_paths
    assert path == str(files[place]) and reason in why and path not in why


@pytest.mark.parametrize("kind", ["lacks a column", "another type", "one more column"])
def test_a_file_that_differs_from_the_first_good_one_is_left_out(files, kind):
    spoil(files[0], "empty")
    reason = spoil(files[5], kind)
    rows, stats = read(files, on_bad_file="skip")
    assert rows == rows_of(1, 2, 3, 4, 6, 7, 8, 9)
    assert [path for path, _ in stats.bad_file_paths] == [str(files[0]), str(files[5])]
    assert reason in stats.bad_file_paths[1][1] and str(files[1]) in stats.bad_file_paths[1][1]


def test_a_first_file_that_lacks_a_chosen_column_is_left_out(files):
    spoil(files[0], "lacks a column")
    rows, stats = read(files, columns=["a"], on_bad_file="skip")
    assert rows == rows_of(*range(1, GOOD))
    assert "has no column 'a'" in stats.bad_file_paths[0][1]
    with pytest.raises(ValueError, match="has no column 'a'"):
        forebay.Loader(files, batch_size=1, columns=["a"])


def test_a_column_that_is_not_chosen_may_differ(files):
    spoil(files[3], "one more column")
    _, stats = read(files, columns=["a"], on_bad_file="skip")
    assert stats.bad_files == 0 and stats.bad_file_paths == []


def test_a_name_that_no_file_has_is_the_users_mistake(files):
    with pytest.raises(ValueError, match="did you mean 'a'|has no column 'aa'") as caught:
        forebay.Loader(files, batch_size=1, columns=["aa"], on_bad_file="skip")
    assert not isinstance(caught.value, OSError)


def test_no_file_left_is_an_error_that_says_the_first_reason(files):
    for path in files:
        spoil(path, "text")
    for policy in ("skip", "warn"):
        with pytest.raises(forebay.SourceError, match="none of the 10 files.*not a Parquet file") as caught:
            forebay.Loader(files, batch_size=1, on_bad_file=policy)
        assert caught.value.path == str(files[0])
        assert isinstance(caught.value.__cause__, forebay.SourceError)


def test_a_path_that_is_not_there_is_an_error_whatever_the_policy(files):
    with pytest.raises(forebay.SourceError, match="no such file"):
        forebay.Loader([*files, files[0].parent / "nowhere.parquet"], batch_size=1, on_bad_file="skip")


def test_each_bad_file_is_a_warning_that_points_at_the_caller(files):
    spoil(files[2], "text")
    spoil(files[7], "empty")
    with pytest.warns(UserWarning) as caught:
        rows, stats = read(files, on_bad_file="warn")
    assert rows == rows_of(0, 1, 3, 4, 5, 6, 8, 9)
    assert stats.bad_files == 2
    texts = [str(warning.message) for warning in caught]
    assert [text.split(":")[0] for text in texts] == [f"{files[2]} is left out", f"{files[7]} is left out"]
    assert "not a Parquet file" in texts[0] and "an empty file" in texts[1]
    assert {warning.filename for warning in caught} == {__file__}
    with pytest.warns(UserWarning) as caught:
        list(forebay.iter_batches(files, batch_size=7, on_bad_file="warn"))
    assert {warning.filename for warning in caught} == {__file__}


def test_from_the_eleventh_on_warnings_are_a_number_and_from_the_hundred_and_first_paths_are(files, tmp_path):
    for number in range(130):
        (tmp_path / f"x{number:03}.parquet").touch()
    with pytest.warns(UserWarning) as caught:
        rows, stats = read(tmp_path, on_bad_file="warn")
    assert rows == rows_of(*range(GOOD))
    assert len(caught) == 11
    assert str(caught[10].message).startswith("120 more files are left out")
    assert stats.bad_files == 130 and len(stats.bad_file_paths) == 100
    assert stats.bad_file_paths[99][0] == str(tmp_path / "x099.parquet")


def test_good_files_give_no_warning_and_no_count(files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, stats = read(files, on_bad_file="warn")
    assert rows == rows_of(*range(GOOD))
    assert (stats.bad_files, stats.bad_file_paths) == (0, [])
    assert "bad files" not in str(stats)


def test_a_warning_that_is_an_error_leaves_nothing_open(files, process):
    spoil(files[1], "text")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="is left out"):
            forebay.Loader(files, batch_size=1, on_bad_file="warn")


def test_stats_show_them_and_survive_json(files):
    spoil(files[1], "empty")
    spoil(files[2], "empty")
    _, stats = read(files, on_bad_file="skip")
    assert "bad files    2 left out" in str(stats)
    figures = json.loads(json.dumps(stats.to_dict()))
    assert figures["bad_files"] == 2 and figures["bad_file_paths"][0][0] == str(files[1])


def test_damage_inside_pages_is_an_error_in_mid_epoch_whatever_the_policy(files):
    data = bytearray(files[5].read_bytes())
    data[4:200] = b"\xff" * 196
    files[5].write_bytes(data)
    with forebay.Loader(files, batch_size=7, preserve_order=True, on_bad_file="skip") as loader:
        assert loader.plan().rows == GOOD * 10
        with pytest.raises(forebay.SourceError) as caught:
            list(loader)
        assert caught.value.path == str(files[5])
        assert loader.stats().bad_files == 0


@pytest.mark.parametrize("value", ["ignore", "", None, True])
def test_another_policy_is_refused(files, value):
    with pytest.raises((TypeError, ValueError), match="on_bad_file must be"):
        forebay.Loader(files, batch_size=1, on_bad_file=value)


def test_a_policy_for_data_in_memory_is_refused():
    with pytest.raises(ValueError, match="on_bad_file is for files"):
        forebay.Loader(pa.table({"a": [1]}), batch_size=1, on_bad_file="skip")


def test_a_file_in_a_folder_of_other_keys_is_left_out(tmp_path):
    for folder in ("k=1", "k=2", "stray"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"a": [1]}), tmp_path / folder / "a.parquet")
    _, stats = read(tmp_path, on_bad_file="skip")
    assert (stats.rows, stats.bad_files) == (2, 1)
    assert stats.bad_file_paths[0][0] == str(tmp_path / "stray" / "a.parquet")


def test_costs_are_surveyed_where_the_files_that_would_have_been_are_bad(tmp_path):
    """Of many files only some are surveyed: the first good one always is."""
    for number in range(200):
        (tmp_path / f"{number:03}.parquet").touch()
    pq.write_table(pa.table({"a": range(5), "s": ["x" * 100] * 5}), tmp_path / "101.parquet")
    with forebay.Loader(tmp_path, batch_size=5, on_bad_file="skip") as loader:
        assert loader.plan().batch_bytes > 500
        assert next(iter(loader))["s"].to_pylist() == ["x" * 100] * 5
        assert loader.stats().bad_files == 199


def test_run_says_how_many_files_it_left_out(files, capsys):
    spoil(files[1], "text")
    arguments = ["run", str(files[0].parent)]
    assert cli.main(arguments) == 2
    assert cli.main([*arguments, "--on-bad-file", "skip"]) == 0
    captured = capsys.readouterr()
    assert "bad files    1 left out" in captured.out
    assert cli.main([*arguments, "--on-bad-file", "warn"]) == 0
    captured = capsys.readouterr()
    assert f"forebay: {files[1]} is left out: not a Parquet file" in captured.err
    assert "UserWarning" not in captured.err
