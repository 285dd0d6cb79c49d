"""Whether this run is `make asan`, whose library takes locks and prints warnings of its own."""

from __future__ import annotations

import os

IS_SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
