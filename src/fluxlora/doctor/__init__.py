"""Every credential, and what else a run needs, proven before anything is spent; each failure with what mends it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxlora.doctor import account, computer, hub, keypair, proxy, wandb_key
from fluxlora.doctor.checks import Check, State, failures, lines
from fluxlora.errors import VastError
from fluxlora.vast.client import Vast

__all__ = ["SUBJECTS", "Check", "Findings", "State", "Tokens", "Wish", "examine", "failures", "lines"]

SUBJECTS = ("vastai", "ssh", "hub", "wandb", "computer")


@dataclass(frozen=True)
class Wish:
    """What a run asks of the accounts and of this computer; the defaults are an account's without a run."""

    ssh_key_file: Path
    artifacts_dir: Path
    lock: Path
    model: str = "black-forest-labs/FLUX.1-dev"
    # Without a namespace one of the token's user; empty for none.
    push_to: str = ""
    private: bool = True
    report_to: str = "wandb"
    wandb_mode: str = ""
    # Decimal GB.
    artifacts_gb: float = 0.0
    # $; None where it is not known, or not set.
    expected_usd: float | None = None
    budget_usd: float | None = None
    # As ssh's option ProxyCommand; empty for none.
    ssh_proxy_command: str = ""
    # Permissions of the vast.ai key that are asked about.
    scopes: Sequence[str] = tuple(account.SCOPES)


@dataclass(frozen=True)
class Tokens:
    """Secrets and where they count; a vast.ai key of None is looked for where the official client has it."""

    vast: str | None = None
    vast_url: str | None = None
    hub: str = ""
    hub_url: str | None = None
    wandb: str = ""
    wandb_url: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Tokens:
        """Those of this environment."""
        return cls(
            hub=environ.get("HF_TOKEN", ""),
            hub_url=environ.get("HF_ENDPOINT"),
            wandb=environ.get("WANDB_API_KEY", ""),
            wandb_url=environ.get("WANDB_BASE_URL"),
        )


@dataclass(frozen=True)
class Findings:
    """What the checks came to, and the credit in $ where it could be seen."""

    checks: tuple[Check, ...]
    credit_usd: float | None = None
    # Whether the account knows the ssh key; None where that cannot be seen.
    key_registered: bool | None = None


def examine(wish: Wish, tokens: Tokens, subjects: Collection[str] = SUBJECTS) -> Findings:
    """All checks of these subjects, whatever becomes of each."""
    checks: list[Check] = []
    seen: account.Account | None = None
    if "vastai" in subjects:
        try:
            # Few attempts: who calls this waits for the answer.
            seen = account.look(Vast(tokens.vast, tokens.vast_url, timeout_seconds=20, attempts=3), wish.scopes)
        except VastError as error:
            checks.append(account.unknown(error))
        else:
            checks += account.key(seen)
            checks.append(account.credit(seen.credit, expected=wish.expected_usd, budget=wish.budget_usd))
    if "ssh" in subjects:
        checks += _ssh(wish, seen)
    if "hub" in subjects:
        checks += hub.examine(
            wish.model, push_to=wish.push_to, private=wish.private, token=tokens.hub, endpoint=tokens.hub_url
        )
    if "wandb" in subjects:
        checks.append(
            wandb_key.examine(tokens.wandb, report_to=wish.report_to, mode=wish.wandb_mode, base_url=tokens.wandb_url)
        )
    if "computer" in subjects:
        checks += _computer(wish)
    if seen:
        checks.append(account.clock(seen.skew_seconds))
    known = next((check for check in checks if check.name == account.REGISTERED), None)
    registered = known.state is State.OK if known and seen and seen.keys is not None else None
    return Findings(tuple(checks), seen.credit if seen else None, registered)


def _ssh(wish: Wish, seen: account.Account | None) -> Iterator[Check]:
    pair, public = keypair.examine(wish.ssh_key_file.expanduser())
    yield pair
    if seen and public:
        yield account.registered(seen, public, str(wish.ssh_key_file))
    if way := proxy.examine(wish.ssh_proxy_command):
        yield way


def _computer(wish: Wish) -> Iterator[Check]:
    yield computer.programs()
    yield computer.versions(wish.lock)
    yield computer.room(wish.artifacts_dir.expanduser(), expected_gb=wish.artifacts_gb)
