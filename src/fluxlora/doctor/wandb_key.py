"""Checks the key of Weights & Biases, with the request that its own client sends.

The request is sent directly, because the client needs a second and a background process for it, and distinguishes a bad
key from a server without an answer only in prose. A test compares this with the real client.
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
# The formats that the client accepts: 40 characters or more, after a dash if a private server adds a prefix; or a token
# of three parts.
_SECRET = re.compile(r"[\w-]{40,}", re.ASCII)
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


def examine(key: str, *, report_to: str = "wandb", mode: str = "", base_url: str | None = None) -> Check:
    """Return the check whether the server accepts the key, if the run reports there."""
    if "wandb" not in report_to and report_to != "all":
        return not_needed(NAME, f"the run reports to {report_to or 'none'}")
    if mode in ("offline", "disabled", "dryrun"):
        return not_needed(NAME, f"WANDB_MODE is {mode}")
    if not key:
        return not_needed(
            NAME,
            "WANDB_API_KEY is not set: the curves are downloaded with the artifacts",
            f"to watch them live: {_KEY_PAGE}",
        )
    remedy = f"copy the key from {_KEY_PAGE}, and: export WANDB_API_KEY=…"
    if not key.isascii() or not key.isprintable() or " " in key:
        sentence = "not a key of Weights & Biases: it has a space, a line break or another unexpected character"
        return failed(NAME, sentence, remedy, "bad_key")
    if not _TOKEN.fullmatch(key) and not _SECRET.fullmatch(key.partition("-")[2] if "-" in key else key):
        return failed(
            NAME,
            f"not a key of Weights & Biases, which has at least 40 letters and digits: {len(key)} characters here",
            remedy,
            "bad_key",
        )
    return _proven(key, (base_url or DEFAULT_URL).rstrip("/"), remedy)


def _proven(key: str, url: str, remedy: str) -> Check:
    import requests  # a dependency of the vast.ai client, which is imported late, too

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
            f"{url} answered {reply.status_code}, and not as Weights & Biases does",
            "check WANDB_BASE_URL, try again in a minute, or: export WANDB_MODE=offline",
            "unreachable",
        )
    if not data.viewer:
        return failed(NAME, f"{url} does not know it", remedy, "bad_key")
    return ok(NAME, f"of {data.viewer.username or data.viewer.entity}")
