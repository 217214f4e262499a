"""The command line as people use it: a process of its own."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def run():
    """Run `lookalike ARGUMENTS`; keywords are environment variables."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "lookalike", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **env})

    return run
