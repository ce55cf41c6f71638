"""Names by which callers, workers and the scheduler plugin of the page "Images" find each other."""

PLUGIN = "pandas_imgproc_images"
"""Name of the scheduler plugin, and of the function of the scheduler that callers call."""

TOPIC = "pandas-imgproc"
"""Topic of the events of partitions in the scheduler's log."""

PAGE_TOPIC = "pandas-imgproc-page"
"""Topic of the event by which a caller recognizes a scheduler with the page."""
