"""Where file permissions bind: root, as whom tests may run, is bound by none."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65_534


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Runs the body as a user who is not root; yields a folder of that user's, which pytest's would not be."""
    is_root = os.getuid() == 0
    if is_root:
        os.setresuid(_NOBODY, _NOBODY, 0)
    try:
        folder = Path(tempfile.mkdtemp(prefix="stateset-unprivileged-"))
        try:
            yield folder
        finally:
            folder.chmod(0o700)
            shutil.rmtree(folder)
    finally:
        if is_root:
            os.setresuid(0, 0, 0)
