"""OpenSSH public keys: told from private ones and from paths before anything is sent."""

from __future__ import annotations

import base64
import re

from fluxlora.errors import InputError

PUBLIC_KEY_TYPE = re.compile(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
)


def public_key(text: str) -> str:
    """Type and key of an OpenSSH public key line, which is what identifies it. Raises InputError for anything else.

    vast.ai takes whatever it is sent, a private key as well, and passes it on to the hosts.
    """
    if "PRIVATE KEY" in text:
        raise InputError(
            "This is a private key; it was sent nowhere.", hint="Give the .pub file's line.", code="private_key"
        )
    kind, _, rest = text.strip().partition(" ")
    key = rest.split(" ")[0]
    if "\n" in text.strip() or not PUBLIC_KEY_TYPE.fullmatch(kind) or not _is_key(kind, key):
        raise InputError(
            "This is not a public key of OpenSSH.",
            hint="Give the one line of a .pub file, for example of ~/.ssh/id_ed25519.pub, and not its path.",
            code="not_a_public_key",
        )
    return f"{kind} {key}"


def _is_key(kind: str, key: str) -> bool:
    # The decoded key begins with the length and name of its own type.
    try:
        return base64.b64decode(key, validate=True)[4 : 4 + len(kind)] == kind.encode()
    except ValueError:
        return False
