"""The JSON that others write, each kind with its schema: a record is valid, or one sentence says what is wrong with it.

What a schema does not name is dropped, texts become one printable line, and numbers are finite and within bounds.
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
# More than any number has that is counted or measured here; Python itself takes 4300, in quadratic time.
_LONGEST_NUMBER = 400
_SAMPLE_CHARACTERS = 40
# How pydantic begins what it says of a value of the wrong kind.
_WANTED = "Input should be "

_Schema = TypeVar("_Schema", bound="Foreign")

Line = Annotated[str, AfterValidator(one_line)]
# As long as the supervisor makes them.
LogLine = Annotated[str, AfterValidator(lambda text: one_line(text, 500))]
# Seconds since the epoch, until the year 5138.
Moment = Annotated[float, Field(ge=0, le=1e11), AllowInfNan(False)]
Usd = Annotated[float, Field(ge=0, le=1e9), AllowInfNan(False)]
Bytes = Annotated[float, Field(ge=0, le=1e18), AllowInfNan(False)]
Count = Annotated[int, Field(ge=0, le=10**9)]
# vast.ai's and the operating system's numbers of things, which JSON carries without loss.
Id = Annotated[int, Field(ge=0, le=2**53)]
# Not a number when a training diverges.
Measured = Annotated[float, AllowInfNan(True)]
# What the Hub lets accounts be called, and what stands in an address.
HubName = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,95}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MalformedError(FluxloraError):
    """A file or an answer that somebody else wrote is not what it has to be."""

    code = "malformed"


class Foreign(BaseModel):
    """A record that somebody else wrote. `"3"` is no number, true is none either."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    def as_facts(self) -> dict[str, Any]:
        """What the record said, for Ansible and JSON; what it left out is left out."""
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
    """$ for an hour, of it for storage, and for a GB each way."""

    per_hour: Usd
    storage_per_hour: Usd = 0.0
    down_per_gb: Usd = 0.0
    up_per_gb: Usd = 0.0


class BudgetRecord(Foreign):
    """What a lease was made of, see fluxlora.money.budget.lease."""

    budget_usd: Usd
    deadline_hours: Annotated[float, Field(ge=0, le=1e6), AllowInfNan(False)]
    rented_at: Moment
    first_rented_at: Moment | None = None
    spent_usd: Usd = 0.0
    earlier_instances: Count = 0
    expected_usd: Usd | None = None
    rates: RatesRecord = RatesRecord(per_hour=0.0)


class LeaseRecord(Foreign):
    """lease.json on the instance; the guard needs more of it than is read here."""

    ends_at: Moment | None = None
    bytes_down: Bytes | None = None
    bytes_up: Bytes | None = None
    budget: BudgetRecord | None = None


class MeterRecord(Foreign):
    """meter.json of the guard: the bytes that the instance has moved."""

    bytes_down: Bytes
    bytes_up: Bytes


class HubOrganization(Foreign):
    """An organization of the Hub's that a user belongs to."""

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
    """The token of the question; the role is read, write or fineGrained."""

    role: Line | None = None
    fine_grained: HubFineGrained | None = Field(default=None, validation_alias="fineGrained")


class HubAuth(Foreign):
    """How the Hub knows who asks."""

    access_token: HubAccessToken | None = Field(default=None, validation_alias="accessToken")


class HubUser(Foreign):
    """The Hub's answer to whoami."""

    name: HubName
    orgs: Annotated[list[HubOrganization], Field(max_length=10_000)] | None = None
    auth: HubAuth | None = None

    @property
    def token(self) -> HubAccessToken:
        """What is known of the token, which may be nothing."""
        return (self.auth.access_token if self.auth else None) or HubAccessToken()


class WandbViewer(Foreign):
    """Whose key it is, by Weights & Biases."""

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
    """manifest.json at home, as far as it is read again: it is our own, but it lies among what hosts have sent."""

    run: Line = ""
    # Whose artifacts are all at home, so that it may be destroyed.
    vastai_id: Id | None = None
    files: Annotated[list[FileRecord], Field(max_length=100_000)] = []


def parse(text: str | bytes, source: str, *, largest_bytes: int = LARGEST_BYTES) -> Any:
    """The JSON value of a text from `source`, a name for the message such as "progress.json of my-style".

    Refuses what Python's own reader lets through: names that stand twice, numbers of any length, and texts without
    bound. NaN and Infinity are read, for trainers write them; schemas take them only where they can be meant.
    Raises MalformedError.
    """
    if len(text) > largest_bytes:
        raise malformed(source, f"it is larger than {largest_bytes / 1e6:g} MB")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_whole, parse_float=_number)
    except _Refused as error:
        raise malformed(source, str(error)) from error
    except RecursionError:
        # Without the cause, which would be a thousand lines.
        raise malformed(source, "it is nested too deep") from None
    except UnicodeDecodeError as error:
        raise malformed(source, f"it is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise malformed(source, f"it is not JSON ({error.msg} at {where})") from error


def read(schema: type[_Schema], value: Any, source: str) -> _Schema:
    """A record from JSON text or from what JSON was parsed to. Raises MalformedError."""
    value = parse(value, source) if isinstance(value, str | bytes) else value
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise malformed(source, problem_of(error)) from error
    # Ints that are too large for a float, and nests that were made without JSON.
    except (OverflowError, RecursionError) as error:
        raise malformed(source, "it holds what cannot be read") from error


def read_file(schema: type[_Schema], path: Path, source: str = "") -> _Schema | None:
    """The record in a file of this computer, None where there is none. Raises MalformedError, for a link too."""
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
    """The record in a file of a host, from the base64 that Ansible's slurp returns; None for no content.

    A mapping is taken as what was in the file. Raises MalformedError.
    """
    if content is None or content in ("", {}):
        return None
    if isinstance(content, Mapping):
        return read(schema, content, source)
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise malformed(source, "what was read of it is not base64") from error
    return read(schema, decoded, source)


def texts(value: Any, source: str) -> dict[str, str]:
    """Names and texts, such as packages and their versions, from JSON text or a mapping. Raises MalformedError."""
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
    """The error that says whose record it is, and what is wrong with it."""
    return MalformedError(one_line(f"{source} cannot be used: {problem}."))


def problem_of(error: ValidationError) -> str:
    """The first thing that is wrong with a record, in one printable line: where, what is wanted, and what is there."""
    first, *others = error.errors(include_url=False, include_context=False)
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    more = f", and {len(others)} more" if others else ""
    if first["type"] == "missing":
        return one_line(f"{one_line(where, 100)} is missing{more}")
    if not first["msg"].startswith(_WANTED):
        # Of texts and lists that are too long or not of a pattern.
        return one_line(f"{one_line(where, 100)}: {first['msg'][:1].lower()}{first['msg'][1:]}{more}")
    given = one_line(first["input"], _SAMPLE_CHARACTERS)
    shown = f'"{given}"' if isinstance(first["input"], str) else given
    return one_line(f"{one_line(where, 100)} should be {first['msg'].removeprefix(_WANTED)} and is {shown}{more}")


class _Refused(ValueError):
    """A reason of ours."""


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Refused(f"{one_line(name, _SAMPLE_CHARACTERS)} stands in it twice")
        found[name] = value
    return found


def _whole(digits: str) -> int:
    return int(_bounded(digits))


def _number(digits: str) -> float:
    return float(_bounded(digits))


def _bounded(digits: str) -> str:
    if len(digits) > _LONGEST_NUMBER:
        raise _Refused(f"it holds a number of {len(digits)} digits")
    return digits
