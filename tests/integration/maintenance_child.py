"""A round of maintenance that kills itself at a stage of its first merge. Settings come from a file.

Usage: `python -m tests.integration.maintenance_child STAGE SCRATCH`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from cryptoviz.settings import settings_from_environment
from spark_jobs.maintenance.round import run_round
from spark_jobs.maintenance.steps import RoundContext

if __name__ == "__main__":

    def at(stage: str) -> None:
        if stage == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)

    run_round(RoundContext(settings_from_environment(), Path(sys.argv[2]), at=at))
