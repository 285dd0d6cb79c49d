"""`python -m forebay`: the same as the command `forebay`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
