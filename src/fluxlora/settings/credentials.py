"""Which names and values are credentials, and data without them: one answer for every file and line that we write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fluxlora.errors import InputError

# Deeper than any configuration, and far above what Python's recursion limit allows for.
_DEPTH = 60
# What stands for a key that is a credential itself.
_HIDDEN = "…"

# Words anywhere in a name, after it was brought to lower case and underscores.
_WORDS = re.compile(
    r"(?:^|_)(?:secrets?|passwords?|passwd|passphrase|pwd|credentials?|authorization|bearer|apikey|accesskey|secretkey"
    r"|privatekey|authtoken|accesstoken|connection_string|sas_token"
    r"|(?:api|access|secret|private|auth|account|application|signing|encryption|storage)_keys?"
    r"|(?:api|access|auth|refresh|session)_tokens)(?:_|$)"
)
# The last word of a name: a token, unless a tokenizer's or a count is meant.
_LAST = re.compile(r"(?:^|_)(?:token|cookies?|sas)$")
_TOKENIZERS = re.compile(
    r"(?:^|_)(?:max|min|num|n|per|pad|bos|eos|unk|cls|sep|mask|special|class|placeholder|instance|trigger|prior|stop"
    r"|start|end|image|text|next|last|first|extra|new|subject|style|concept)_token$"
)
# A name that says where a credential lies, or how long it is, is none.
_ABOUT = re.compile(r"_(?:files?|paths?|dir|directory|folder|length|count|limit|size|env|variable)$")
# A name that says that 40 or 64 hexadecimal digits are a hash.
_HASHES = re.compile(r"(?:^|_)(?:revision|rev|commit|tag|ref|branch|sha|sha1|sha256|hash|digest|checksum|etag)(?:_|$)")
# More names in the query of a URL.
_QUERY = frozenset({"key", "sig", "signature", "auth", "x_amz_signature", "x_amz_credential"})

# Forms of credentials, each unmistakable by its beginning. Here and below repetitions are bounded: without that, a text
# of a megabyte could take minutes.
_FORMS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      hf_[A-Za-z0-9]{20,} | api_org_[A-Za-z0-9]{20,}            # Hugging Face
    | wandb_v1_\w{20,}                                          # Weights & Biases, since 2025
    | (?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])                  # AWS
    | gh[pousr]_[A-Za-z0-9]{30,} | github_pat_\w{30,} | glpat-[\w-]{20,}
    | sk-[A-Za-z0-9_-]{20,} | r8_[A-Za-z0-9]{30,} | xox[abprs]-[\w-]{10,} | AIza[\w-]{35}
    | eyJ[\w-]{8,300}\.eyJ[\w-]{8}                             # a JSON web token
    | Bearer\ [\w.~+/-]{16,}
    | AccountKey=\S{16,} | SharedAccessSignature=\S{16,}        # Azure
    ) | -----BEGIN\ [A-Z ]{0,40}PRIVATE\ KEY-----
    | discord(?:app)?\.com/api/webhooks/\d | hooks\.slack\.com/services/\w | api\.telegram\.org/bot\d""",
    re.VERBOSE,
)
# A key of Weights & Biases has 40 hexadecimal digits, one of vast.ai's 64.
_DIGITS = re.compile(r"(?:[\w-]{0,40}-)?(?:[0-9a-f]{40}|[0-9a-f]{64})")
# AWS' secret keys: 40 letters of base64.
_AWS_SECRET = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9/+]{40}")
_URL = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s'\"<>]+")
# NAME=value, --name value, and 'name': 'value' in text that is no JSON.
_ASSIGNED = re.compile(
    r"""(?<![\w.-])([A-Za-z_][\w.-]{0,80})(?:=|['"]\s{0,4}:\s{0,4}['"]?|\s{0,4}:\s{0,4}['"])['"]?([^\s'",;&}]{4,})"""
)
_ARGUMENT = re.compile(r"(?<![\w-])--([A-Za-z][\w-]{0,80})\s{1,4}([^\s-]\S{3,})")
# What says that nothing is set, or is an answer.
_NOTHING = frozenset({"", "true", "false", "yes", "no", "on", "off", "none", "null", "~"})


@dataclass(frozen=True)
class Cleaned:
    """Data without its credentials, and the dotted key of each that was left out."""

    value: Any
    dropped: tuple[str, ...] = ()


def secret_name(name: str) -> bool:
    """Whether a key, an option or a variable is called like one that holds a credential.

    `tokenizer_max_length`, `max_token`, `caption_key` and `secrets_file` are not.
    """
    words = _words(name)
    if _ABOUT.search(words):
        return False
    return bool(_WORDS.search(words) or (_LAST.search(words) and not _TOKENIZERS.search(words)))


def secret_text(text: str, name: str = "") -> bool:
    """Whether a text is a credential or holds one: a token by its form, a URL with a password, `KEY=…`.

    `name` is what the text is called: where that speaks of a hash or a revision, plain hexadecimal digits are one.
    """
    if _FORMS.search(text) or _AWS_SECRET.fullmatch(text.strip()):
        return True
    if _DIGITS.fullmatch(text.strip()) and not _HASHES.search(_words(name)):
        return True
    if any(secret_url(match[0]) for match in _URL.finditer(text)):
        return True
    pairs = [*_ASSIGNED.finditer(text), *_ARGUMENT.finditer(text)]
    return any(secret_name(pair[1]) and _says_something(pair[2]) for pair in pairs)


def secret_url(url: str) -> bool:
    """Whether a URL holds a user with a password, a web address any user at all, or a query a token."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
    except ValueError:
        return "@" in url
    user, at, _ = parts.netloc.rpartition("@")
    if at and (":" in user or parts.scheme in ("http", "https")):
        return True
    return any(secret_name(name) or _words(name) in _QUERY for name, _ in query)


def without_secrets(value: Any, at: str = "") -> Cleaned:
    """The data at every depth without what is a credential by its name or by its form.

    Mappings, lists and texts that hold JSON are walked whole. `at` is the dotted key of `value` itself.
    Raises InputError for data that is nested deeper than any configuration.
    """
    walk = _Walk()
    left = walk.value(value, at.rpartition(".")[2], at, _DEPTH)
    return Cleaned(None if left is _DROPPED else left, tuple(walk.dropped))


# Tells what was left out from null.
_DROPPED: Any = object()


class _Walk:
    """One pass over data, and the keys of what it left out."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def value(self, value: Any, name: str, at: str, depth: int) -> Any:
        if depth == 0:
            raise InputError(f"{at[:60]}… is nested too deep for a configuration.", code="bad_json")
        if secret_name(name) and _says_something(value):
            return self.drop(at)
        if isinstance(value, Mapping):
            return self.mapping(value, at, depth - 1)
        if isinstance(value, list | tuple):
            items = [self.value(item, name, _key(at, number), depth - 1) for number, item in enumerate(value)]
            return [item for item in items if item is not _DROPPED]
        return self.text(value, name, at, depth) if isinstance(value, str) else value

    def mapping(self, value: Mapping[Any, Any], at: str, depth: int) -> dict[Any, Any]:
        # {"name": "HF_TOKEN", "value": "…"}, as environments are written down.
        named = next((str(value[key]) for key in ("name", "key") if isinstance(value.get(key), str)), "")
        left: dict[Any, Any] = {}
        for key, item in value.items():
            if isinstance(key, str) and secret_text(key):
                self.drop(_key(at, _HIDDEN))
                continue
            name = named if key == "value" else str(key)
            if (walked := self.value(item, name, _key(at, key), depth)) is not _DROPPED:
                left[key] = walked
        return left

    def text(self, text: str, name: str, at: str, depth: int) -> Any:
        if text.lstrip().startswith(("{", "[")):
            try:
                parsed = json.loads(text)
            except (ValueError, RecursionError):
                pass
            else:
                before = len(self.dropped)
                left = self.value(parsed, name, at, depth - 1)
                return text if len(self.dropped) == before else json.dumps(left, ensure_ascii=False)
        return self.drop(at) if secret_text(text, name) else text

    def drop(self, at: str) -> Any:
        self.dropped.append(at)
        return _DROPPED


def _key(at: str, key: object) -> str:
    return f"{at}.{key}" if at else str(key)


def _says_something(value: Any) -> bool:
    return not (value is None or isinstance(value, bool) or str(value).strip().lower() in _NOTHING)


def _words(name: str) -> str:
    """hubToken, HUB-TOKEN and --hub.token alike as hub_token."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")
