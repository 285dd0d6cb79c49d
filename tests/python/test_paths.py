"""From paths, directories, globs and lists to the files that are read, and what is said when there are none."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay
from forebay import _paths
from forebay._paths import check_paths


@pytest.fixture
def tree(tmp_path):
    """A directory with files to read, files to ignore, and folders of both."""
    for name in (
        "b.parquet",
        "a.parquet",
        "_SUCCESS",
        ".hidden",
        "sub/c.parquet",
        "sub/deep/d.parquet",
        "_temporary/e.parquet",
        ".cache/f.parquet",
        "sub/.g.parquet.crc",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def find_files(paths):
    return [found.path for found in _paths.find_files(paths)]


def names(files, root):
    return [os.path.relpath(file, root) for file in files]


def test_a_path_is_itself(tree):
    assert find_files(check_paths(tree / "b.parquet")) == [str(tree / "b.parquet")]
    assert find_files(check_paths(os.fsencode(tree / "b.parquet"))) == [str(tree / "b.parquet")]


def test_a_file_that_is_named_is_read_whatever_its_name_begins_with(tree):
    assert find_files(check_paths(str(tree / "_SUCCESS"))) == [str(tree / "_SUCCESS")]


def test_a_directory_is_searched_to_the_bottom_sorted_without_hidden_names(tree):
    found = names(find_files(check_paths(str(tree))), tree)
    assert found == ["a.parquet", "b.parquet", "sub/c.parquet", "sub/deep/d.parquet"]


def test_a_directory_whose_own_name_is_hidden_is_read_when_it_is_named(tree):
    assert names(find_files(check_paths(tree / ".cache")), tree) == [".cache/f.parquet"]


def test_a_glob_is_sorted_and_ignores_hidden_names_unless_it_asks_for_them(tree):
    assert names(find_files(check_paths(str(tree / "*.parquet"))), tree) == ["a.parquet", "b.parquet"]
    assert names(find_files(check_paths(str(tree / "_S*"))), tree) == ["_SUCCESS"]
    assert names(find_files(check_paths(str(tree / "**" / "*.parquet"))), tree) == [
        "a.parquet",
        "b.parquet",
        "sub/c.parquet",
        "sub/deep/d.parquet",
    ]


def test_a_glob_that_finds_a_directory_reads_what_is_in_it_once(tree):
    assert names(find_files(check_paths(str(tree / "su*"))), tree) == ["sub/c.parquet", "sub/deep/d.parquet"]
    everything = names(find_files(check_paths(str(tree / "**"))), tree)
    assert everything == ["a.parquet", "b.parquet", "sub/c.parquet", "sub/deep/d.parquet"]


def test_a_name_with_glob_characters_that_exists_is_a_name(tmp_path):
    path = tmp_path / "part[1].parquet"
    path.touch()
    assert find_files(check_paths(path)) == [str(path)]


def test_a_list_keeps_its_order_and_may_mix_kinds(tree):
    sources = [tree / "b.parquet", str(tree / "sub"), str(tree / "a.*"), tree / "b.parquet"]
    assert names(find_files(check_paths(sources)), tree) == [
        "b.parquet",
        "sub/c.parquet",
        "sub/deep/d.parquet",
        "a.parquet",
        "b.parquet",
    ]


def test_linked_directories_are_followed_and_a_circle_of_them_ends(tree):
    (tree / "sub" / "again").symlink_to(tree)
    (tree / "linked").symlink_to(tree / "sub" / "deep")
    found = names(find_files(check_paths(tree)), tree)
    assert sorted(set(found)) == sorted(found)
    assert "a.parquet" in found and len(found) == 4


@pytest.mark.parametrize("source", [[], ()])
def test_an_empty_list_is_a_value_error(source):
    with pytest.raises(ValueError, match="empty list"):
        forebay.Loader(source, batch_size=1)


@pytest.mark.parametrize("source", ["", [""], "a\0b"])
def test_a_path_that_cannot_be_one_is_a_value_error(source):
    with pytest.raises(ValueError, match="source"):
        forebay.Loader(source, batch_size=1)


@pytest.mark.parametrize("source", [[1], [None], ["a", ["b"]]])
def test_a_list_of_something_else_is_a_type_error(source):
    with pytest.raises(TypeError, match="source"):
        forebay.Loader(source, batch_size=1)


def test_a_missing_path_is_named_with_a_close_one(tree):
    with pytest.raises(
        forebay.SourceError, match=r"no such file or directory: did you mean '.*/b\.parquet'"
    ) as caught:
        forebay.Loader(tree / "b.parqet", batch_size=1)
    assert caught.value.path == str(tree / "b.parqet")


def test_a_path_below_a_file_is_missing(tree):
    with pytest.raises(forebay.SourceError, match="no such file or directory"):
        forebay.Loader(tree / "a.parquet" / "x", batch_size=1)


def test_an_empty_directory_and_one_with_hidden_names_only_are_errors(tmp_path):
    with pytest.raises(forebay.SourceError, match="holds no file"):
        forebay.Loader(tmp_path, batch_size=1)
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(forebay.SourceError, match="'_SUCCESS'"):
        forebay.Loader(tmp_path, batch_size=1)


def test_a_glob_that_matches_nothing_is_an_error(tmp_path):
    with pytest.raises(forebay.SourceError, match=r"no file matches") as caught:
        forebay.Loader(str(tmp_path / "*.parquet"), batch_size=1)
    assert caught.value.path == str(tmp_path / "*.parquet")


def test_a_url_is_refused_by_name():
    with pytest.raises(forebay.UnsupportedError, match="s3://bucket/key"):
        forebay.Loader("s3://bucket/key", batch_size=1)


def test_another_file_in_a_directory_is_an_error_that_names_it(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "notes.txt").write_text("something else entirely")
    with pytest.raises(forebay.SourceError, match=r"notes\.txt: not a Parquet file") as caught:
        forebay.Loader(tmp_path, batch_size=1)
    assert caught.value.path == str(tmp_path / "notes.txt")


def test_a_relative_path_and_a_name_outside_utf_8_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"a": [1]}), "a.parquet")
    Path("a.parquet").rename(os.fsdecode(b"\xff.parquet"))
    with forebay.Loader(os.fsdecode(b"\xff.parquet"), batch_size=1) as loader:
        assert [batch["a"].tolist() for batch in loader] == [[1]]
