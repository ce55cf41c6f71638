"""What one row means. A task is a frozen value: equal tasks give equal answers, on any machine.

A new feature is a new task; the kernel knows none of them.

`task`    what the kernel and the drivers need to know, and what tasks share
`load`    pictures as pixels of one shape
`verify`  whether pictures are whole
"""

from pandas_imgproc.tasks.load import LoadResized
from pandas_imgproc.tasks.task import Task, Values, labelled
from pandas_imgproc.tasks.verify import Verify

__all__ = ["LoadResized", "Task", "Values", "Verify", "labelled"]
