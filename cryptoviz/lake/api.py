"""The reader as functions, over one `Lake`: that of the running pipeline."""

from __future__ import annotations

from functools import cache

from cryptoviz.cli.running_pipeline import running_settings
from cryptoviz.lake.reader import Lake

__all__ = ["default_lake"]


@cache
def default_lake() -> Lake:
    """Made at the first call and kept, so that what it has read is read once.

    Settings are those of the pipeline that runs here, live before demo; without one those of environment, `.env` and defaults.
    """
    return Lake(running_settings())
