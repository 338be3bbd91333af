"""Texts of strangers, which vast.ai hands on as they are."""

from __future__ import annotations

import json

from starlette.responses import JSONResponse, Response

from fluxlora.rehearsal.vast.api import Call
from fluxlora.rehearsal.vast.arming import Answer, api_fault
from fluxlora.rehearsal.vast.faults.listing import LIST

# Evaluated it would be 1337, or an error.
TEMPLATES = " {{ 7 * 191 }} {% raw %}"
SHOWN = "They are shown as they are; nothing of them is evaluated."


@api_fault(LIST, SHOWN)
async def list_with_templates(call: Call, answer: Answer) -> Response:
    """Names and messages of the instances hold what Ansible takes for a template."""
    return _with_templates(await answer(), "instances")


@api_fault("POST /api/v0/bundles", SHOWN)
async def offers_with_templates(call: Call, answer: Answer) -> Response:
    """Names and places of the offers hold what Ansible takes for a template."""
    return _with_templates(await answer(), "offers")


def _with_templates(response: Response, name: str) -> Response:
    """The answer with a template in every text that people read."""
    body = json.loads(bytes(response.body))
    for row in body[name]:
        for field in ("gpu_name", "geolocation", "status_msg", "cpu_name"):
            if isinstance(row.get(field), str):
                row[field] += TEMPLATES
    return JSONResponse(body, response.status_code)
