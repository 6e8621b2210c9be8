"""`python -m cryptoviz.engines`: download and build the embedded engines, with progress. Used by scripts/setup."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console

from cryptoviz.engines.download_progress import BarProgress, ProgressReporter, progress_for
from cryptoviz.engines.fetch import ensure_all, is_complete
from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import load_settings


def main() -> int:
    """Exit code: 0 when everything is present, 1 with a message on failure, 130 after Ctrl-C."""
    console = Console(stderr=True)
    try:
        settings = load_settings()
        if is_complete(settings):
            return 0
        reporter = progress_for(console)
        shown: AbstractContextManager[ProgressReporter] = reporter if isinstance(reporter, BarProgress) else nullcontext(reporter)
        with shown as progress:
            ensure_all(settings, progress)
    except CryptoVizError as error:
        console.print(f"setup: {error.message}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("setup: interrupted; run it again to resume", markup=False)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
