"""One live line about long work: redrawn on a terminal, a log line now and then elsewhere.

It must not slow what it reports on: a reading of the clock for each batch, and at most ten updates a second.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from ._stats import bytes_text

_logger = logging.getLogger("forebay")

_DRAW_INTERVAL_S = 0.1
_LOG_INTERVAL_S = 10.0
_RATE_WINDOW_S = 2.0  # rates are of so much time past


class LiveLine:
    """A line of text on stderr that changes: redrawn in place on a terminal, logged at level INFO elsewhere."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """stream: where to draw, stderr where None; clock: seconds that never run backwards."""
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = self._stream is not None and self._stream.isatty()
        self._interval = _DRAW_INTERVAL_S if self._is_terminal else _LOG_INTERVAL_S
        self._due = clock() + self._interval
        self._shown = ""

    def is_due(self) -> bool:
        """Whether it is time for another update."""
        return self._clock() >= self._due

    def update(self, text: str) -> None:
        """Shows text in place of what was shown before, whether due or not."""
        self._due = self._clock() + self._interval
        if not self._is_terminal:
            _logger.info("%s", text)
            return
        width = max(20, shutil.get_terminal_size().columns - 1)
        text = text[:width]
        self._write(f"\r{text}{' ' * (len(self._shown) - len(text))}")
        self._shown = text

    def print(self, text: str) -> None:
        """Prints a lasting line on stdout, and puts the live line back below it."""
        shown = self._shown
        self.clear()
        print(text, flush=True)
        if shown:
            self._write(f"\r{shown}")
            self._shown = shown

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._write(f"\r{' ' * len(self._shown)}\r")
            self._shown = ""

    def finish(self, text: str) -> None:
        """Leaves text as the last state of the line."""
        if self._is_terminal:
            self.update(text)
            self._write("\n")
            self._shown = ""
        else:
            _logger.info("%s", text)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a closed or broken stderr is no reason to end the loop
            self._is_terminal = False
            self._shown = ""


class Progress:
    """An epoch's iterator that shows a live line: rows/s, MB/s, bytes held of the limit, share of time waited.

    Gives the batches of `batches` unchanged. figures: gives the loader's stats as the core's dict. total: batches of
    the epoch, None where they are not known.
    """

    def __init__(
        self, batches: Iterator[Any], figures: Callable[[], dict[str, Any]], total: int | None, line: LiveLine
    ) -> None:
        self.line = line
        self._batches = batches
        self._figures = figures
        self._total = total
        self._count = 0
        self._process = os.getpid()
        self._is_finished = True  # nothing is shown yet
        # Stats count over all epochs of the loader: what they were when this one began.
        self._start = self._mark(figures())
        self._past = deque([self._start])  # (clock, figures) of the last seconds, to tell the rate now

    def __iter__(self) -> Progress:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except BaseException:
            self.finish()
            raise
        self._count += 1
        self._is_finished = False
        if self.line.is_due():
            self.line.update(self._text())
        return batch

    def __del__(self) -> None:
        self.finish()

    def finish(self) -> None:
        """Leaves the epoch's figures as the last state of the line. Idempotent; also called when it is let go.

        In a child of fork() there is nothing to show: epoch and line are the parent's.
        """
        if not self._is_finished and os.getpid() == self._process:
            self._is_finished = True
            self._past = deque([self._start])
            self.line.finish(self._text())

    @staticmethod
    def _mark(figures: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        return time.monotonic(), figures

    def _text(self) -> str:
        mark = self._mark(self._figures())
        past = self._past
        while len(past) > 1 and mark[0] - past[1][0] >= _RATE_WINDOW_S:
            past.popleft()
        (then, before), (now, figures) = past[0], mark
        past.append(mark)
        seconds = max(now - then, 1e-9)
        blocked = figures["blocked_s"] - before["blocked_s"]
        together = blocked + figures["user_s"] - before["user_s"]
        waited = blocked / together if together > 0 else 0.0
        total = "" if self._total is None else f"/{self._total:,}"
        return (
            f"{self._count:,}{total}  {(figures['rows'] - before['rows']) / seconds:,.0f} rows/s  "
            f"{(figures['bytes_out'] - before['bytes_out']) / 1e6 / seconds:,.0f} MB/s  "
            f"{bytes_text(figures['charged_bytes'])} of {bytes_text(figures['memory_limit'])}  waited {waited:.0%}"
        )
