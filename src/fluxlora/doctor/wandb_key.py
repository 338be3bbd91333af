"""The key of Weights & Biases, proven with the question that its own client asks.

Asked directly: the client needs a second and a background process of its own for it, and tells a bad key from a server
that does not answer in prose alone. A test holds this against the real client.
"""

from __future__ import annotations

import re

from fluxlora.doctor.checks import Check, failed, not_needed, ok
from fluxlora.untrusted.schemas import MalformedError, WandbAnswer, read

NAME = "wandb key"
DEFAULT_URL = "https://api.wandb.ai"
_KEY_PAGE = "https://wandb.ai/authorize"
_TIMEOUT_SECONDS = 15.0
VIEWER = "query Viewer {viewer {id entity username email flags teams {edges {node {name}}}}}"
# What the client itself takes: 40 characters or more, after a dash where one's own server puts a prefix before it; or
# a token of three parts.
_SECRET = re.compile(r"[\w-]{40,}", re.ASCII)
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


def examine(key: str, *, report_to: str = "wandb", mode: str = "", base_url: str | None = None) -> Check:
    """Whether what is logged will be seen on the server, where it is to be logged there at all."""
    if "wandb" not in report_to and report_to != "all":
        return not_needed(NAME, f"the run reports to {report_to or 'none'}")
    if mode in ("offline", "disabled", "dryrun"):
        return not_needed(NAME, f"WANDB_MODE is {mode}")
    if not key:
        return not_needed(
            NAME,
            "WANDB_API_KEY is not set: the curves come home with the artifacts",
            f"to watch them live: {_KEY_PAGE}",
        )
    remedy = f"copy the key from {_KEY_PAGE}, and: export WANDB_API_KEY=…"
    if not key.isascii() or not key.isprintable() or " " in key:
        sentence = "no key of Weights & Biases: it holds a space, a line break or another odd character"
        return failed(NAME, sentence, remedy, "bad_key")
    if not _TOKEN.fullmatch(key) and not _SECRET.fullmatch(key.partition("-")[2] if "-" in key else key):
        return failed(
            NAME,
            f"no key of Weights & Biases, which has 40 letters and digits or more: {len(key)} characters here",
            remedy,
            "bad_key",
        )
    return _proven(key, (base_url or DEFAULT_URL).rstrip("/"), remedy)


def _proven(key: str, url: str, remedy: str) -> Check:
    import requests  # the vast.ai client brings it; late, as it is

    try:
        reply = requests.post(
            f"{url}/graphql",
            json={"query": VIEWER, "operationName": "Viewer"},
            auth=("api", key),
            timeout=_TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        return failed(
            NAME,
            f"{url} does not answer ({type(error).__name__})",
            "check the network and WANDB_BASE_URL, or: export WANDB_MODE=offline",
            "unreachable",
        )
    if reply.status_code in (401, 403):
        return failed(NAME, f"{url} does not know it", remedy, "bad_key")
    try:
        data = read(WandbAnswer, reply.content, url).data
    except MalformedError:
        data = None
    if not reply.ok or data is None:
        return failed(
            NAME,
            f"{url} answered {reply.status_code} with something else",
            "check WANDB_BASE_URL, try again in a minute, or: export WANDB_MODE=offline",
            "unreachable",
        )
    if not data.viewer:
        return failed(NAME, f"{url} does not know it", remedy, "bad_key")
    return ok(NAME, f"of {data.viewer.username or data.viewer.entity}")
