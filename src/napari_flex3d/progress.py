"""What a running stage reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """One report of a running stage.

    Parameters
    ----------
    step, total
        Work done and work in all, in the stage's own unit (images, steps, iterations).
    message
        A sentence for the person watching; empty when there is nothing new to say.
    metrics
        Numbers of this step. A report with metrics becomes one row of the job's ``metrics.csv``.
    preview
        A detached copy of something small to look at while the stage runs, or None.
    """

    step: int
    total: int
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    preview: Any = None
