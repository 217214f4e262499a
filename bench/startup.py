"""How long from the command to a server that is ready? Five starts over the demo's collection.

Run: python -m bench.startup [COLLECTION]
"""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

STARTS = 5


def main(collection: Path) -> None:
    seconds, torch = zip(*(_start(collection) for _ in range(STARTS)), strict=True)
    print(f"start to ready: median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f} s")
    print(f"torch loaded: {'yes' if any(torch) else 'no'}")


def _start(collection: Path) -> tuple[float, bool]:
    """Seconds to ready, and whether torch's library is in the process."""
    started = time.monotonic()
    command = [sys.executable, "-m", "lookalike", "serve", str(collection), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = next(found[0] for line in process.stderr if (found := re.search(r"http://[\w.:]+", line)))
        while httpx.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.01)
        return time.monotonic() - started, "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo/collection"))
