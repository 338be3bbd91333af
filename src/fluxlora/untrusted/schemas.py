"""Schemas for JSON that others write: a record is valid, or one sentence says what is wrong with it.

Unknown keys are dropped, texts become one printable line, and numbers are finite and within limits.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, AllowInfNan, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fluxlora.errors import FluxloraError
from fluxlora.text import one_line
from fluxlora.untrusted import files

# A manifest of a run with a thousand files has 200 kB.
LARGEST_BYTES = 4_000_000
# More digits than any number here has; Python itself accepts 4300, in quadratic time.
_LONGEST_NUMBER = 400
_SAMPLE_CHARACTERS = 40
# How pydantic's messages about a wrong type begin.
_WANTED = "Input should be "

_Schema = TypeVar("_Schema", bound="Foreign")

Line = Annotated[str, AfterValidator(one_line)]
# The longest texts that the supervisor writes.
LogLine = Annotated[str, AfterValidator(lambda text: one_line(text, 500))]
# Seconds since the epoch, until the year 5138.
Moment = Annotated[float, Field(ge=0, le=1e11), AllowInfNan(False)]
Usd = Annotated[float, Field(ge=0, le=1e9), AllowInfNan(False)]
Bytes = Annotated[float, Field(ge=0, le=1e18), AllowInfNan(False)]
Count = Annotated[int, Field(ge=0, le=10**9)]
# Ids of vast.ai and of the operating system, which JSON stores exactly.
Id = Annotated[int, Field(ge=0, le=2**53)]
# NaN if a training diverges.
Measured = Annotated[float, AllowInfNan(True)]
# The names that the Hub allows for accounts and in addresses.
HubName = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,95}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MalformedError(FluxloraError):
    """A file or an answer from somebody else does not have the required form."""

    code = "malformed"


class Foreign(BaseModel):
    """A record that somebody else wrote. Neither `"3"` nor true is accepted as a number."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    def as_facts(self) -> dict[str, Any]:
        """Return the record's values for Ansible and JSON, without missing ones."""
        return self.model_dump(exclude_unset=True)


Phase = Literal["starting", "caching", "training", "validating", "saving", "finished", "failed"]


class ProgressRecord(Foreign):
    """progress.json of the supervisor (fluxlora.onhost.supervisor), also as fluxlora.json on the Hub."""

    phase: Phase
    step: Count = 0
    steps: Count = 0
    epoch: Count = 0
    loss: Measured | None = None
    first_loss: Measured | None = None
    lr: Measured | None = None
    # s
    seconds_per_step: Annotated[float, Field(ge=0, le=1e7), AllowInfNan(False)] | None = None
    started_at: Moment | None = None
    updated_at: Moment | None = None
    restarts: Count = 0
    checkpoints: Annotated[list[Count], Field(max_length=10_000)] = []
    errors: Annotated[list[LogLine], Field(max_length=100)] = []
    adapter: Line | None = None
    pid: Id | None = None


class RatesRecord(Foreign):
    """$ per hour, the part of it for storage, and $ per GB in and out."""

    per_hour: Usd
    storage_per_hour: Usd = 0.0
    down_per_gb: Usd = 0.0
    up_per_gb: Usd = 0.0


class BudgetRecord(Foreign):
    """The values from which a lease was made, see fluxlora.money.budget.lease."""

    budget_usd: Usd
    deadline_hours: Annotated[float, Field(ge=0, le=1e6), AllowInfNan(False)]
    rented_at: Moment
    first_rented_at: Moment | None = None
    spent_usd: Usd = 0.0
    earlier_instances: Count = 0
    expected_usd: Usd | None = None
    rates: RatesRecord = RatesRecord(per_hour=0.0)


class LeaseRecord(Foreign):
    """lease.json on the instance; the guard reads more of its keys."""

    ends_at: Moment | None = None
    bytes_down: Bytes | None = None
    bytes_up: Bytes | None = None
    budget: BudgetRecord | None = None


class MeterRecord(Foreign):
    """meter.json of the guard: the bytes that the instance has moved."""

    bytes_down: Bytes
    bytes_up: Bytes


class HubOrganization(Foreign):
    """An organization on the Hub to which a user belongs."""

    name: HubName
    role: Line | None = Field(default=None, validation_alias="roleInOrg")


class HubEntity(Foreign):
    """An account or a repository."""

    name: Line | None = None


class HubGrant(Foreign):
    """What a fine-grained token may do with an account's repositories or with one repository."""

    entity: HubEntity | None = None
    permissions: Annotated[list[Line], Field(max_length=1000)] | None = None


class HubFineGrained(Foreign):
    """What a fine-grained token may do."""

    may_read_gated: bool | None = Field(default=None, validation_alias="canReadGatedRepos")
    scoped: Annotated[list[HubGrant], Field(max_length=1000)] | None = None


class HubAccessToken(Foreign):
    """The token of the request; its role is read, write or fineGrained."""

    role: Line | None = None
    fine_grained: HubFineGrained | None = Field(default=None, validation_alias="fineGrained")


class HubAuth(Foreign):
    """How the request was authenticated on the Hub."""

    access_token: HubAccessToken | None = Field(default=None, validation_alias="accessToken")


class HubUser(Foreign):
    """The Hub's answer to whoami."""

    name: HubName
    orgs: Annotated[list[HubOrganization], Field(max_length=10_000)] | None = None
    auth: HubAuth | None = None

    @property
    def token(self) -> HubAccessToken:
        """What is known about the token; it may be empty."""
        return (self.auth.access_token if self.auth else None) or HubAccessToken()


class WandbViewer(Foreign):
    """The owner of a key of Weights & Biases."""

    username: Line | None = None
    entity: Line | None = None


class WandbData(Foreign):
    """The data of an answer to fluxlora.doctor.wandb_key.VIEWER; no viewer for a key that it does not know."""

    viewer: WandbViewer | None = None


class WandbAnswer(Foreign):
    """An answer of Weights & Biases."""

    data: WandbData


class FileRecord(Foreign):
    """A file that a manifest lists."""

    path: Annotated[str, Field(max_length=4096)]
    size_bytes: Annotated[int, Field(ge=0, le=2**53)]
    modified_at: Annotated[float, AllowInfNan(False)]
    sha256: Sha256


class ManifestRecord(Foreign):
    """The keys of the local manifest.json that are read again: fluxlora wrote it, but it is in a folder with files
    from hosts."""

    run: Line = ""
    # The instance whose artifacts are all downloaded, so that it may be destroyed.
    vastai_id: Id | None = None
    files: Annotated[list[FileRecord], Field(max_length=100_000)] = []


def parse(text: str | bytes, source: str, *, largest_bytes: int = LARGEST_BYTES) -> Any:
    """Return the JSON value of a text from `source`, a name for the message such as "progress.json of my-style".

    Refuses what Python's own parser accepts: repeated names, numbers of any length, and texts of any length. NaN
    and Infinity are read, because trainers write them; schemas accept them only where they make sense. Raises
    MalformedError.
    """
    if len(text) > largest_bytes:
        raise malformed(source, f"it is larger than {largest_bytes / 1e6:g} MB")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_whole, parse_float=_number)
    except _Refused as error:
        raise malformed(source, str(error)) from error
    except RecursionError:
        # Without the cause, which would have a thousand lines.
        raise malformed(source, "it is nested too deep") from None
    except UnicodeDecodeError as error:
        raise malformed(source, f"it is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise malformed(source, f"it is not JSON ({error.msg} at {where})") from error


def read(schema: type[_Schema], value: Any, source: str) -> _Schema:
    """Return a record from JSON text or from parsed JSON. Raises MalformedError."""
    value = parse(value, source) if isinstance(value, str | bytes) else value
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise malformed(source, problem_of(error)) from error
    # Ints that are too large for a float, and deeply nested data that does not come from JSON.
    except (OverflowError, RecursionError) as error:
        raise malformed(source, "it contains values that cannot be read") from error


def read_file(schema: type[_Schema], path: Path, source: str = "") -> _Schema | None:
    """Return the record in a local file, or None if there is no file. Raises MalformedError, also for a link."""
    source = source or str(path)
    try:
        with files.open_regular(path) as opened:
            content = opened.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise malformed(source, f"it cannot be opened ({reason})") from error
    return read(schema, content, source)


def read_slurped(schema: type[_Schema], content: Any, source: str) -> _Schema | None:
    """Return the record in a host's file, from the base64 that Ansible's slurp returns; None for no content.

    A mapping is used as the content of the file. Raises MalformedError.
    """
    if content is None or content in ("", {}):
        return None
    if isinstance(content, Mapping):
        return read(schema, content, source)
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise malformed(source, "its content is not base64") from error
    return read(schema, decoded, source)


def texts(value: Any, source: str) -> dict[str, str]:
    """Return names and texts, such as packages and versions, from JSON text or a mapping. Raises MalformedError."""
    value = parse(value, source) if isinstance(value, str | bytes) else value
    try:
        return _TEXTS.validate_python(value)
    except ValidationError as error:
        raise malformed(source, problem_of(error)) from error


_TEXTS = TypeAdapter(
    Annotated[dict[Line, Line], Field(max_length=1000)],
    config=ConfigDict(strict=True),
)


def malformed(source: str, problem: str) -> MalformedError:
    """Return the error that says whose record it is, and what is wrong with it."""
    return MalformedError(one_line(f"{source} cannot be used: {problem}."))


def problem_of(error: ValidationError) -> str:
    """Return the first mistake in a record as one printable line: the place, the expected value, and the actual one."""
    first, *others = error.errors(include_url=False, include_context=False)
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    more = f", and {len(others)} more" if others else ""
    if first["type"] == "missing":
        return one_line(f"{one_line(where, 100)} is missing{more}")
    if not first["msg"].startswith(_WANTED):
        # For texts and lists that are too long or do not match a pattern.
        return one_line(f"{one_line(where, 100)}: {first['msg'][:1].lower()}{first['msg'][1:]}{more}")
    given = one_line(first["input"], _SAMPLE_CHARACTERS)
    shown = f'"{given}"' if isinstance(first["input"], str) else given
    return one_line(f"{one_line(where, 100)} should be {first['msg'].removeprefix(_WANTED)} and is {shown}{more}")


class _Refused(ValueError):
    """A refusal with a reason."""


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Refused(f"{one_line(name, _SAMPLE_CHARACTERS)} occurs twice")
        found[name] = value
    return found


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise _Refused(f"it holds a number of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER:
        raise _Refused(f"it holds a number of {len(digits)} digits")
    return float(digits)
