"""The reader as functions, over one `Lake` with the settings of this process."""

from __future__ import annotations

from functools import cache

from cryptoviz.lake.reader import Lake
from cryptoviz.settings import load_settings

__all__ = ["default_lake"]


@cache
def default_lake() -> Lake:
    """Made at the first call, from environment, `.env` and defaults; kept, so that what it has read is read once."""
    return Lake(load_settings())
