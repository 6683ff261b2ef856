"""``python -m reducto``."""

import sys

from reducto.cli import main

if __name__ == "__main__":
    sys.exit(main())
