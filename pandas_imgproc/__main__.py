"""``python -m pandas_imgproc``."""

import sys

from pandas_imgproc.command import main

if __name__ == "__main__":
    sys.exit(main())
