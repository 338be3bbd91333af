"""Runs a command and writes what it cost: `measure.py FILE COMMAND...` leaves "CPU seconds, wall seconds" in FILE.

The processes of containers are counted too. They leave the command's process tree, so this process becomes the parent
of whatever loses its own, which Linux allows (prctl, PR_SET_CHILD_SUBREAPER), and waits for it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def main(report: str, *command: str) -> int:
    began = time.monotonic()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = subprocess.Popen(command)
    status = None
    while status is None:
        child, ended = os.wait()
        if child == started.pid:
            status = started.returncode = os.waitstatus_to_exitcode(ended)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    Path(report).write_text(f"{spent.ru_utime + spent.ru_stime:.0f} s CPU, {time.monotonic() - began:.0f} s\n")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
