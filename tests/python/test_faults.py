"""Calls to the system that fail, one after the other, as Python sees them: the programs of tests/faults, short forms.

Each runs in a process of its own with forebay_faults.so loaded before Python; tests/soak/run.py runs the long forms.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sanitizers import IS_SANITIZED

PROGRAMS = Path(__file__).parents[1] / "faults"
LIBRARY = os.environ.get("FOREBAY_FAULTS_LIBRARY")

pytestmark = [
    pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer must be loaded before everything else"),
    pytest.mark.skipif(not LIBRARY, reason="FOREBAY_FAULTS_LIBRARY does not say where forebay_faults.so is"),
]


@pytest.mark.parametrize(
    ("program", "arguments", "least_cases"),
    [
        ("sweep_loader.py", "11", 150),
        ("sweep_limits.py", "10 6", 150),
        ("sweep_objects.py", "7", 200),
        ("sweep_files.py", "23", 250),
    ],
)
def test_each_failure_and_each_limit_is_an_error_or_does_no_harm(
    program: str, arguments: str, least_cases: int
) -> None:
    assert LIBRARY
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(PROGRAMS / program), *arguments.split()],
        env={**os.environ, "LD_PRELOAD": os.path.abspath(LIBRARY)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cases = re.search(r"^cases: (\d+)$", ended.stdout, re.MULTILINE)
    assert cases and int(cases[1]) >= least_cases, ended.stdout
