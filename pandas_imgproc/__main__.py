"""Entry point of ``python -m pandas_imgproc``."""

import sys

from pandas_imgproc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
