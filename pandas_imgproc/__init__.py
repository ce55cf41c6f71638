"""A pandas accessor that turns a column of image paths into a column of images."""

__version__ = "0.1.0"
