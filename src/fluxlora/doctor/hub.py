"""What the Hugging Face Hub will allow: the model to be read, the adapter to be written, seen by whom it should be."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fluxlora.delivery.hub import SITE, TOKENS_PAGE, ask, client, whoami
from fluxlora.doctor.checks import Check, failed, not_needed, ok, warning
from fluxlora.errors import HubError
from fluxlora.untrusted.schemas import HubAccessToken, HubFineGrained, HubUser

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN, MODEL, TARGET = "hub token", "hub model", "hub repository"


def examine(
    model: str, *, push_to: str = "", private: bool = True, token: str, endpoint: str | None = None
) -> list[Check]:
    """Whether the token is valid, may read the model, and may create and write the repository `push_to`.

    A `push_to` without a namespace goes to the token's user, as SimpleTuner does it. Creates nothing.
    """
    if not token:
        return [
            failed(TOKEN, f"HF_TOKEN is not set, and {model} is given to known accounts only", _login(), "no_token")
        ]
    if not token.isascii() or not token.isprintable() or " " in token:
        sentence = "HF_TOKEN holds more than a token: a space, a line break or another odd character"
        return [failed(TOKEN, sentence, f"copy it again from {TOKENS_PAGE}, and: export HF_TOKEN=…", "bad_token")]
    api = client(token, endpoint)
    try:
        me = whoami(api)
    except HubError as error:
        return [_as_check(TOKEN, error)]
    return [ok(TOKEN, f"of {me.name}, {_role(me)}"), _model(api, me, model), _target(api, me, push_to, private)]


def _login() -> str:
    """The client's own file counts for the client alone: on the instance there is only what HF_TOKEN held here."""
    from huggingface_hub.constants import HF_TOKEN_PATH

    if Path(HF_TOKEN_PATH).is_file():
        return f"export HF_TOKEN=$(cat {shlex.quote(HF_TOKEN_PATH)})"
    return f"make a token that may write at {TOKENS_PAGE}, and: export HF_TOKEN=…"


def _model(api: HfApi, me: HubUser, model: str) -> Check:
    try:
        ask(lambda: api.auth_check(model), model)
    except HubError as error:
        scopes = me.token.fine_grained or HubFineGrained()
        if error.code == "gated" and me.token.role == "fineGrained" and not scopes.may_read_gated:
            return failed(
                MODEL,
                f"the token may not read gated repositories, {model} is one",
                f'tick "Read access to contents of all public gated repos" at {TOKENS_PAGE}',
                "gated_token",
            )
        return _as_check(MODEL, error)
    return ok(MODEL, f"{model} may be read")


def _target(api: HfApi, me: HubUser, push_to: str, private: bool) -> Check:
    if not push_to:
        return not_needed(TARGET, "the adapter is pushed nowhere")
    target = push_to if "/" in push_to else f"{me.name}/{push_to}"
    if refusal := _unwritable(me, target):
        return refusal
    try:
        found = ask(lambda: api.model_info(target), target)
    except HubError as error:
        if error.code == "no_such_model":
            return ok(TARGET, f"{target} will be made, {'private' if private else 'for all to see'}")
        return _as_check(TARGET, error)
    if private and not found.private:
        return failed(
            TARGET,
            f"{target} exists and is public, and the adapter should be private",
            f"make it private at {SITE}/{target}/settings, or set simpletuner_model_card_private to false",
            "public",
        )
    if found.private and not private:
        return warning(
            TARGET,
            f"{target} exists and is private, and the adapter should be public",
            f"make it public at {SITE}/{target}/settings",
            "private",
        )
    return ok(TARGET, f"{target} exists, {'private' if found.private else 'public'}, and may be written")


def _unwritable(me: HubUser, target: str) -> Check | None:
    """Why the token may not write there, by whoami's answer alone: nothing is created to find out."""
    namespace = target.split("/", 1)[0]
    roles = {organization.name: organization.role for organization in me.orgs or []}
    if namespace != me.name and namespace not in roles:
        return failed(
            TARGET,
            f"the adapter would be pushed to {target}, and the token belongs to {me.name}",
            "name a repository of your own in simpletuner_hub_model_id, or use a token of that account",
            "no_write",
        )
    if roles.get(namespace) == "read":
        return failed(
            TARGET,
            f"{me.name} may only read in {namespace}",
            f"ask an admin of {SITE}/{namespace} for the role contributor or write",
            "no_write",
        )
    role = me.token.role
    if role == "read" or (role == "fineGrained" and not _granted(me.token, namespace, target)):
        kind = "read-only" if role == "read" else "fine-grained"
        return failed(
            TARGET,
            f"the {kind} token may not write to {target}",
            f"give it write access to the repositories of {namespace} at {TOKENS_PAGE}",
            "no_write",
        )
    return None


def _role(me: HubUser) -> str:
    return {"write": "may write", "read": "read-only", "fineGrained": "fine-grained"}.get(me.token.role or "", "valid")


def _granted(key: HubAccessToken, *names: str) -> bool:
    """Whether a fine-grained token may write to what has one of these names, an account or a repository."""
    scopes = (key.fine_grained.scoped if key.fine_grained else None) or []
    return any(
        "repo.write" in (scope.permissions or []) and scope.entity is not None and scope.entity.name in names
        for scope in scopes
    )


def _as_check(name: str, error: HubError) -> Check:
    return failed(name, str(error), error.hint, error.code)
