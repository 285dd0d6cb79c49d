"""The figures of a loader: what they are, how they are shown, and that showing progress changes nothing."""

import io
import json
import logging

import pyarrow as pa
import pytest

import forebay
from forebay._progress import LiveLine, Progress
from forebay._stats import AccountStats, Plan, Stats

TABLE = pa.table({"a": range(1000), "b": [0.5] * 1000})
FIGURES = {
    "batches": 489,
    "rows": 2_000_000,
    "bytes_out": 800_000_000,
    "memory_limit": 192 << 20,
    "peak_bytes": 190 << 20,
    "charged_bytes": 50 << 20,
    "foreign_bytes": 0,
    "held_batches": 1,
    "gate_allocations": 1234,
    "first_batch_s": 0.086,
    "blocked_s": 0.5,
    "user_s": 1.5,
    "accounts": {"core": (40_000, 50_000), "batch": (50 << 20, 60 << 20)},
    "next_wait": {"count": 489, "p50": 0.00001, "p90": 0.009, "p99": 0.05, "max": 0.08, "sum": 0.5},
    "stages": {
        "read": {
            "busy_s": 1.0,
            "wait_input_s": 0.25,
            "wait_output_s": 0.5,
            "wait_bytes_s": 0.125,
            "items": 489,
        }
    },
    "bottleneck": "consumer",
}


def test_stats_have_the_documented_figures_before_during_and_after_an_epoch():
    loader = forebay.Loader(TABLE, batch_size=100, memory_limit="8MiB")
    before = loader.stats()
    assert (before.batches, before.rows, before.bytes_out, before.bottleneck) == (0, 0, 0, None)
    iterator = iter(loader)
    kept = next(iterator)
    during = loader.stats()
    assert (during.batches, during.rows, during.held_batches) == (1, 100, 1)
    assert during.memory_limit == 8 << 20
    assert 0 < during.charged_bytes <= during.peak_bytes <= during.memory_limit
    assert sum(account.bytes for account in during.accounts.values()) == during.charged_bytes
    assert during.accounts["held"].bytes > 0
    assert 0 < during.first_batch_s
    del kept
    list(iterator)
    loader.close()
    after = loader.stats()
    assert (after.batches, after.rows, after.bytes_out) == (10, 1000, 16_000)
    assert after.next_wait.count >= 9
    assert 0 <= after.next_wait.p50 <= after.next_wait.p90 <= after.next_wait.p99
    assert after.stages and all(stage.items >= 0 for stage in after.stages.values())
    assert isinstance(after.bottleneck, str)


def test_stats_are_frozen_and_a_snapshot():
    with forebay.Loader(TABLE, batch_size=100) as loader:
        stats = loader.stats()
        list(loader)
        assert stats.batches == 0
        with pytest.raises(AttributeError):
            stats.batches = 1


def test_to_dict_is_plain_and_survives_json():
    figures = Stats.from_core(FIGURES).to_dict()
    assert figures == FIGURES | {"bad_files": 0, "bad_file_paths": []}
    back = json.loads(json.dumps(figures))
    assert back["accounts"]["core"] == [40_000, 50_000]
    assert back["stages"]["read"]["busy_s"] == 1.0


def test_accounts_are_pairs_with_names():
    account = Stats.from_core(FIGURES).accounts["core"]
    assert account == (40_000, 50_000)
    assert account == AccountStats(bytes=40_000, peak=50_000)


def test_figures_that_a_later_core_adds_are_left_out():
    assert Stats.from_core(FIGURES | {"something": 1}) == Stats.from_core(FIGURES)


def test_the_table_shows_rate_first_batch_waits_and_every_account():
    text = str(Stats.from_core(FIGURES))
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "2,000,000 in 489 batches" in lines["rows"]
    assert "1,000,000 rows/s, 400.0 MB/s" in lines["rate"]
    assert "86.0 ms" in lines["first batch"]
    assert "p50 0.01 ms" in lines["next()"] and "p99 50.00 ms" in lines["next()"]
    assert "25%" in lines["waited"] and "consumer" in lines["waited"]
    assert "190.0 MiB of 192.0 MiB" in lines["memory"]
    assert lines["core"].endswith("48.8 KiB")
    assert lines["batch"].endswith("60.0 MiB")
    assert "489" in lines["read"]
    # Figures of a column end below each other.
    assert len({len(lines[name]) for name in ("account", "core", "batch")}) == 1
    assert len({len(lines[name]) for name in ("stage", "read")}) == 1


def test_the_table_of_a_loader_that_gave_nothing_yet_has_no_rate():
    with forebay.Loader(TABLE, batch_size=100) as loader:
        assert "rate         -" in str(loader.stats())


def test_bytes_beyond_what_was_booked_are_shown_where_there_are_any():
    assert "beyond" not in str(Stats.from_core(FIGURES))
    assert "3.0 MiB" in str(Stats.from_core(FIGURES | {"foreign_bytes": 3 << 20}))


def test_the_plan_says_what_an_epoch_will_be():
    with forebay.Loader(TABLE, batch_size=300, num_threads=1) as loader:
        plan = loader.plan()
        assert isinstance(plan, Plan)
        assert (plan.batches, plan.rows, plan.units, plan.thread_count) == (4, 1000, 1, 1)
        assert 0 < plan.least_memory_bytes
        assert plan.to_dict()["batches"] == len(loader) == 4
    with forebay.Loader(TABLE, batch_size=300, drop_last=True) as loader:
        assert loader.plan().batches == len(loader) == 3


def test_repr_says_rows_batches_and_limit():
    loader = forebay.Loader(TABLE, batch_size=300, memory_limit="64MiB")
    assert repr(loader) == "<forebay.Loader 1,000 rows in 4 batches, limit 64.0 MiB>"
    loader.close()
    assert "closed" in repr(loader)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def progress_of(count, line):
    return Progress(iter(range(count)), lambda: FIGURES, count, line)


def test_progress_gives_the_same_batches(capsys):
    with forebay.Loader(TABLE, batch_size=300, progress=True, preserve_order=True) as loader:
        assert [len(batch["a"]) for batch in loader] == [300, 300, 300, 100]
        assert loader.epoch == 1
    assert capsys.readouterr().out == ""


def test_a_line_on_a_terminal_is_redrawn_at_most_ten_times_a_second():
    terminal, clock = Terminal(), Clock()
    progress = progress_of(1000, LiveLine(terminal, clock))
    for _ in progress:
        clock.now += 0.001
    text = terminal.getvalue()
    assert 9 <= text.count("\r") <= 12
    last = text.split("\r")[-1]
    assert last.startswith("1,000/1,000  ") and last.endswith("\n")
    for part in ("rows/s", "MB/s", "50.0 MiB of 192.0 MiB", "waited"):
        assert part in last


def test_elsewhere_a_line_is_logged_every_ten_seconds(caplog):
    caplog.set_level(logging.INFO, "forebay")
    stream, clock = io.StringIO(), Clock()
    for _ in progress_of(100, LiveLine(stream, clock)):
        clock.now += 0.25
    assert stream.getvalue() == ""
    assert [record.message.split()[0] for record in caplog.records] == ["41/100", "81/100", "100/100"]


def test_the_line_is_finished_once_when_the_epoch_ends_fails_or_is_let_go():
    for leave in ("end", "break", "error"):
        terminal, clock = Terminal(), Clock()

        def failing():
            yield 1
            raise OSError("broken")

        progress = Progress(
            failing() if leave == "error" else iter([1]), lambda: FIGURES, 2, LiveLine(terminal, clock)
        )
        assert next(progress) == 1
        if leave == "end":
            assert next(progress, None) is None
            assert next(progress, None) is None
        elif leave == "error":
            with pytest.raises(OSError, match="broken"):
                next(progress)
        del progress
        assert terminal.getvalue().count("\n") == 1, leave


def test_nothing_is_shown_of_an_epoch_without_batches():
    terminal = Terminal()
    assert list(progress_of(0, LiveLine(terminal, Clock()))) == []
    assert terminal.getvalue() == ""


def test_a_lasting_line_goes_to_stdout_and_the_live_one_comes_back(capsys):
    terminal, clock = Terminal(), Clock()
    line = LiveLine(terminal, clock)
    line.update("live")
    line.print("loss 0.5")
    assert capsys.readouterr().out == "loss 0.5\n"
    assert terminal.getvalue() == "\rlive\r    \r\rlive"


def test_a_stderr_that_is_gone_does_not_end_the_loop():
    terminal, clock = Terminal(), Clock()
    progress = progress_of(3, LiveLine(terminal, clock))
    terminal.close()
    clock.now = 1.0
    assert list(progress) == [0, 1, 2]
