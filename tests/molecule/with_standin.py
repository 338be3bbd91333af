"""`with_standin.py COMMAND...`: the command, with the stand-in vast.ai and Hub in its environment while it runs."""

import os
import subprocess
import sys

from fluxlora.rehearsal.session import standin

with standin("none") as there:
    sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **there.environment()}).returncode)
