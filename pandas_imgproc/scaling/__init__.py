"""Scaling benchmark: one call timed on 1, 2, 4 … workers, a law fitted to the runs, and the report."""

from pandas_imgproc.scaling.fit import ScalingFit
from pandas_imgproc.scaling.report import ScalingReport, scaling_report

__all__ = ["ScalingFit", "ScalingReport", "scaling_report"]
