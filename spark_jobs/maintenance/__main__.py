"""Child process of a maintenance round: `python -m spark_jobs.maintenance RESULT [TABLE...]`.

It reads the settings from a file (`cryptoviz.settings.handover`) and writes its result to a file. Half of the processor time of a round with little
work are imports, so what it does not need is not imported: pandas, which pyarrow imports if installed, and the admin client of `minio`, which imports
packages for encryption.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from cryptoviz.local.hidden_modules import hide_modules


def skip_imports() -> None:
    """Before the first import of `minio`, which imports a name from its admin client: an empty module takes its place."""
    hide_modules("pandas")
    sys.modules["minio.minioadmin"] = empty = ModuleType("minio.minioadmin")
    empty.__dict__["MinioAdmin"] = None


if __name__ == "__main__":
    skip_imports()
    import_module("spark_jobs.maintenance.round").run(Path(sys.argv[1]), tuple(sys.argv[2:]))
