"""The benchmarks' own arithmetic: ratios within a round, pieces cut into batches, what the report says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import frameworks  # noqa: E402
import loaders  # noqa: E402
import pieces  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import runs  # noqa: E402
import small_batches  # noqa: E402

MB = 1_000_000


def record(rates: dict[int, float], *, peak_mb: float | None = None) -> runs.Record:
    """A record of a rate in MB/s by round."""
    figures = {
        "bytes": MB, "first_batch_s": 0.01, "first_next_s": 0.005, "wait_p50_s": 1e-4, "wait_p99_s": 1e-3,
        "wait_max_s": 0.1, "faults_per_batch": 2.0, "cpu_s": 1.5, "memory_limit": 200 * MB, "peak_bytes": 100 * MB,
    }  # fmt: skip
    found = [figures | {"seconds": 1 / rate, "round": number} for number, rate in rates.items()]
    return runs.Record(runs=found, peaks=[] if peak_mb is None else [int(peak_mb * MB)])


def figures_of(**workloads: runs.Records) -> report.Figures:
    versions = {
        "forebay": {"python": "3.11", "forebay": "1", "numpy": "2"},
        "polars": {"python": "3.11", "numpy": "2"},
    }
    return report.Figures("2026-01-01", "a machine", 3, 1, "192MiB", 4096, versions, workloads)


def test_a_ratio_is_of_the_rounds_that_both_ran_in() -> None:
    ours, slow = record({0: 100, 1: 900, 2: 900}), record({0: 50})
    assert runs.ratio(slow, ours) == pytest.approx(0.5)
    assert runs.ratio(ours, slow) == pytest.approx(2)
    other = record({0: 200, 1: 300, 2: 450})
    assert runs.ratio(ours, other) == pytest.approx(2)


def test_pieces_of_any_length_become_batches_of_one() -> None:
    values = np.arange(1000)
    cuts = [0, 3, 3, 10, 500, 501, 1000]
    made = pieces.rebatch(
        ({"a": values[start:stop]} for start, stop in zip(cuts, cuts[1:], strict=False) if stop > start), 64
    )
    batches = [batch["a"] for batch in made]
    assert [len(batch) for batch in batches] == [64] * 15 + [40]
    assert np.array_equal(np.concatenate(batches), values)


def test_the_report_names_what_ran_less_often_and_keeps_promises_by_set() -> None:
    figures = figures_of(
        small={
            "forebay": record({0: 300, 1: 300, 2: 300}, peak_mb=90),
            "polars": record({0: 100, 1: 200, 2: 100}, peak_mb=300),
            "torch": record({0: 30}, peak_mb=500),
            "duckdb": runs.Record(failure="no result within 600 s"),
        }
    )
    text = report.render(figures, {"small": "results-small.svg"})
    assert "ran in 1 round only: torch." in text
    assert "(results-small.svg)" in text
    assert "| **forebay** | 300 | 300 to 300 | 1.00 |" in text
    assert "| torch | 30 | one run | 0.10 |" in text
    assert "duckdb failed: no result within 600 s" in text
    assert "small: 3.00 of the best peer's rate (polars), at least 1.00 | holds" in text
    assert "- all: numpy 2, python 3.11\n- forebay: forebay 1\n" in text and "- polars" not in text
    assert figures.failed()


def test_figures_outlive_a_file() -> None:
    figures = figures_of(big={"forebay": record({0: 300, 1: 300, 2: 300}, peak_mb=90)})
    again = report.Figures.from_dict(json.loads(json.dumps(figures.to_dict())))
    assert again == figures


def test_loaders_are_chosen_by_workload() -> None:
    chosen = run.chosen(loaders.LOADERS, None)
    assert {"forebay", "polars", "torch", "datasets", "ray-2.55", "ray-2.60"} <= set(chosen)
    assert not {"torch-tensors", "datasets-numpy", "ray-2.60-numpy"} & set(chosen)
    assert list(run.chosen(small_batches.LOADERS, ["grain", "polars", "grain"])) == ["grain"]
    for version in frameworks.RAY_VERSIONS:
        assert loaders.LOADERS[f"ray-{version}"].environment == f"ray-{version}"


@pytest.mark.parametrize("name", ["forebay", "numpy-copies", "pyarrow-slices"])
def test_small_batches_from_memory_are_checked_and_measured(name: str) -> None:
    job = small_batches.Memory(small_batches.make_table(1000), 64, "32MiB")
    found = small_batches.measure(small_batches.LOADERS[name], job, 2)
    assert found["batches"] == 16 and found["rows"] == 1000 and found["bytes"] == 1000 * 40
    assert found["seconds"] > 0 and found["numpy_seconds"] > 0 and found["ratio_to_numpy"] > 0


def test_a_loader_that_leaves_rows_out_is_no_result() -> None:
    job = small_batches.Memory(small_batches.make_table(1000), 64, "32MiB")
    batches = list(small_batches.numpy_slices(job))
    with pytest.raises(SystemExit, match="gave 936 rows"):
        small_batches.check(iter(batches[1:]), job)
    with pytest.raises(SystemExit, match="a batch is"):
        small_batches.check(iter([{"label": pa.array([1])}]), job)
