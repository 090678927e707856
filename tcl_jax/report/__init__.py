"""What a run leaves for people and programs to read."""

from tcl_jax.report.metrics_log import MetricsLog, NoLog
from tcl_jax.report.results import format_table

__all__ = ["MetricsLog", "NoLog", "format_table"]
