"""Where the programs are that the tests execute."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def find_tool(name: str) -> str:
    """Path of a program: from a wheel in this environment, else from the system.

    Raises FileNotFoundError: a test whose server is missing fails, it is not skipped.
    """
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; `make integration` installs what the tests need")
    return found
