"""The property tests over random tables and files with many more examples, and others each time.

Usage: python tests/soak/properties.py SEED EXAMPLES
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1] / "python"
MODULES = ("test_nested_types.py", "test_values_properties.py")


class Count:
    """How many tests passed."""

    passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed


def main() -> int:
    seed, examples = sys.argv[1:]
    os.environ["FOREBAY_EXAMPLES"] = examples
    count = Count()
    modules = [str(TESTS / module) for module in MODULES]
    status = pytest.main(
        [
            "--quiet",
            "--timeout=3000",
            f"--hypothesis-seed={seed}",
            "-k",
            "random or shown or shows_its_own",
            *modules,
        ],
        plugins=[count],
    )
    print(f"cases: {count.passed * int(examples)}")
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
