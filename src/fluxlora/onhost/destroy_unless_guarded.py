"""Ends its own instance when no guard has come in time: whoever rented it may have died. Started by onstart.

Where one has come, this becomes a second one, which waits until the first is gone, with its container for example.
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

vast, minutes, lease, environ = sys.argv[1:]
# Whoever has started it again may want to bring another lease first.
time.sleep(60 * (min(5.0, float(minutes)) if Path(lease).exists() else float(minutes)))
own = dict(pair.split("=", 1) for pair in Path(environ).read_text(errors="replace").split("\0") if "=" in pair)
url = vast.rstrip("/") + "/api/v0/instances/" + own["CONTAINER_ID"] + "/"
bearer = {"Authorization": "Bearer " + own["CONTAINER_API_KEY"]}
# Until it is gone, and this with it. Whatever is answered, half a reply or none that is HTTP, it is asked again.
while not Path(lease).exists():
    with contextlib.suppress(Exception):
        urlopen(Request(url, headers=bearer, method="DELETE"), timeout=30)
    time.sleep(15)
state = Path(lease).parent
os.execv(sys.executable, [sys.executable, str(state / "guard.py"), "watch", "--state", str(state)])
