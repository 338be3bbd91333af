"""The faults of the Hub, by name. POST /rehearsal/faults arms one, which acts once, or as often as the request says."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from fluxlora.rehearsal.hub.call import Call, Refused, item

FAULTS = {
    # name: status, answer, whether reading still works
    "hub_down": (503, "Service Unavailable", False),
    "hub_full": (403, "Private repository storage limit reached, please upgrade your plan", True),
}


class Faults:
    """The armed faults, and how many more requests each will refuse."""

    def __init__(self) -> None:
        self.armed: dict[str, int] = {}

    def meet(self, method: str) -> None:
        """Raise Refused for the number of requests for which a fault is armed."""
        for name, (status, message, writes_only) in FAULTS.items():
            if self.armed.get(name, 0) > 0 and not (writes_only and method == "GET"):
                self.armed[name] -= 1
                raise Refused(status, message)

    async def arm(self, call: Call) -> Response:
        """Arm a fault. Raises Refused for an unknown name."""
        call.authenticated()
        wanted = await call.json()
        name = item(wanted, "name", str)
        if name not in FAULTS:
            raise Refused(404, f"There is no fault {name}; there are {', '.join(FAULTS)}.")
        self.armed[name] = item({"times": 1} | wanted, "times", int)
        return JSONResponse({"success": True})
