"""forebay: columnar data becomes training batches inside one byte limit that you set.

import forebay

with forebay.Loader("clicks/", batch_size=4096, memory_limit="256MiB") as loader:
    for batch in loader:  # a dict of numpy arrays
        ...
    print(loader.stats())
"""

from ._column import ArrowColumn
from ._errors import (
    ForkedLoaderError,
    LoaderTimeoutError,
    MemoryLimitError,
    SourceError,
    UnsupportedError,
)
from .loader import Loader, iter_batches

__version__ = "0.1.0"

__all__ = [
    "ArrowColumn",
    "ForkedLoaderError",
    "Loader",
    "LoaderTimeoutError",
    "MemoryLimitError",
    "SourceError",
    "UnsupportedError",
    "__version__",
    "iter_batches",
]
