"""The stand-in's account: its keys, ssh keys, environment variables and money."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

USER_ID = 100_001
DEPOSIT = 25.0  # $
OWN_KEY_ID = 1


@dataclass(frozen=True)
class ScopedKey:
    """A key with some permissions, beside the account's own key with all."""

    id: int
    name: str
    key: str
    permissions: dict[str, Any]


@dataclass
class Account:
    """The account's keys, variables and money."""

    api_key: str = field(default_factory=lambda: secrets.token_hex(32))
    deposit: float = DEPOSIT
    scoped_keys: dict[int, ScopedKey] = field(default_factory=dict)
    # Seconds by which the clock in answers is ahead of this computer's.
    skew_seconds: float = 0.0
    ssh_keys: dict[int, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(70_001))
    _created: dict[int, str] = field(default_factory=dict)

    def forget(self) -> None:
        """Reset everything except the key."""
        self.ssh_keys.clear()
        self.environment.clear()
        self.scoped_keys.clear()
        self.deposit, self.skew_seconds = DEPOSIT, 0.0

    def mint(self, name: str, permissions: dict[str, Any]) -> ScopedKey:
        """Make a key with some permissions."""
        made = ScopedKey(next(self._ids), name, secrets.token_hex(32), permissions)
        self.scoped_keys[made.id] = made
        return made

    def key_id(self, public_key: str) -> int:
        """Return the id of a key, a new one if the account does not have the key."""
        known = (key_id for key_id, key in self.ssh_keys.items() if key == public_key)
        return next(known, None) or next(self._ids)

    def add_ssh_key(self, public_key: str) -> int:
        """Add a public ssh key."""
        key_id = self.key_id(public_key)
        self.ssh_keys[key_id] = public_key
        return key_id

    def ssh_key_record(self, key_id: int, public_key: str) -> dict[str, Any]:
        """Return the API's record of an ssh key."""
        created = self._created.setdefault(key_id, datetime.now(UTC).isoformat(timespec="seconds"))
        return {
            "id": key_id,
            "user_id": USER_ID,
            "key": public_key,  # its name in the list; the reply for a new key calls it public_key
            "public_key": public_key,
            "created_at": created,
            "deleted_at": None,
        }

    def user(self, spent: float, key_id: int = OWN_KEY_ID) -> dict[str, Any]:
        """Return users/current after this much money ($) is spent."""
        return {
            "id": USER_ID,
            "key_id": key_id,
            "email": "rehearsal@example.invalid",
            "username": "rehearsal",
            "balance": 0.0,
            "credit": self.deposit - spent,
            "ssh_key": next(iter(self.ssh_keys.values()), ""),
            "sid": "rehearsal",
            "has_billing": True,
            "can_pay": True,
        }
