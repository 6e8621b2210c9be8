"""The process of a round."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from spark_jobs.maintenance.__main__ import skip_imports
skip_imports()
import spark_jobs.maintenance.round
print(*sorted({"Crypto", "argon2", "minio", "pandas", "pyarrow"} & sys.modules.keys()))
"""


def test_a_round_imports_neither_pandas_nor_encryption() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["minio", "pyarrow"]
