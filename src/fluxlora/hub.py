"""What the Hugging Face Hub will allow, asked before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fluxlora.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_T = TypeVar("_T")
_TOKENS_PAGE = "https://huggingface.co/settings/tokens"
# The client itself waits for ever.
_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class Access:
    """Who the token belongs to, and the repository that the adapter is pushed to, empty where it is pushed nowhere."""

    user: str
    model: str
    push_to: str

    def as_facts(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def check(model: str, *, push_to: str = "", token: str, endpoint: str | None = None) -> Access:
    """Prove that the token is valid, may read the model, and may create and write the repository `push_to`.

    A `push_to` without a namespace goes to the token's user, as SimpleTuner does it. Creates nothing.
    Raises HubError with code no_token, bad_token, gated, no_such_model, no_write, unreachable or hub_error.
    """
    if not token:
        raise HubError(
            f"There is no Hugging Face token, and {model} is given only to accounts that accepted its licence.",
            hint=f"Make a token with write access at {_TOKENS_PAGE} and export HF_TOKEN.",
            code="no_token",
        )
    api = _client(token, endpoint)
    me = _ask(api.whoami, "whoami")
    _ask(lambda: api.auth_check(model), model)
    user = str(me.get("name", ""))
    target = push_to if "/" in push_to or not push_to else f"{user}/{push_to}"
    if target:
        _may_write(me, target)
    return Access(user=user, model=model, push_to=target)


def _client(token: str, endpoint: str | None) -> HfApi:
    import huggingface_hub  # 0.5 s, which only this check should pay

    huggingface_hub.get_session().timeout = _TIMEOUT_SECONDS
    return huggingface_hub.HfApi(endpoint=endpoint or None, token=token)


def _ask(question: Callable[[], _T], subject: str) -> _T:
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        return question()
    except GatedRepoError as error:
        raise HubError(
            f"This Hugging Face account may not read {subject}: its licence has not been accepted.",
            hint=f"Open https://huggingface.co/{subject} with the account of the token and accept it; a fine-grained"
            " token also needs read access to gated repositories.",
            code="gated",
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(f"There is no model {subject} on the Hub for this account.", code="no_such_model") from error
    except HfHubHTTPError as error:
        raise _refusal(error, subject) from error
    except HFValidationError as error:
        raise HubError(f"{subject} is no name of a repository.", code="no_such_model") from error
    except httpx2.HTTPError as error:
        raise HubError(
            f"The Hugging Face Hub does not answer: {type(error).__name__}.",
            hint="Check the network, or HF_ENDPOINT where it is set.",
            code="unreachable",
        ) from error


def _refusal(error: Any, subject: str) -> HubError:
    status = error.response.status_code
    if status in (401, 403):
        return HubError(
            "The Hugging Face token is not valid.",
            hint=f"Make a new one at {_TOKENS_PAGE} and export HF_TOKEN.",
            code="bad_token",
        )
    if status == 429 or status >= 500:
        return HubError(
            f"The Hugging Face Hub answered {status}.", hint="Try again in some minutes.", code="unreachable"
        )
    if status == 404:
        return HubError(f"There is no model {subject} on the Hub.", code="no_such_model")
    return HubError(f"The Hugging Face Hub answered {status} to the question about {subject}.")


def _may_write(me: Mapping[str, Any], target: str) -> None:
    """From whoami's answer alone: nothing is created to find out."""
    namespace = target.split("/", 1)[0]
    mine = {me.get("name"), *(each.get("name") for each in me.get("orgs") or [])}
    if namespace not in mine:
        raise HubError(
            f"The adapter would be pushed to {target}, and the token belongs to {me.get('name')}.",
            hint="Name a repository of your own in simpletuner_hub_model_id, or use a token of that account.",
            code="no_write",
        )
    key = (me.get("auth") or {}).get("accessToken") or {}
    if key.get("role") == "read" or (key.get("role") == "fineGrained" and not _granted(key, namespace)):
        raise HubError(
            f"The Hugging Face token may not write to {target}.",
            hint=f"Give it write access to the repositories of {namespace} at {_TOKENS_PAGE}.",
            code="no_write",
        )


def _granted(key: Mapping[str, Any], namespace: str) -> bool:
    scopes = (key.get("fineGrained") or {}).get("scoped") or []
    return any(
        "repo.write" in (scope.get("permissions") or []) and (scope.get("entity") or {}).get("name") == namespace
        for scope in scopes
    )
