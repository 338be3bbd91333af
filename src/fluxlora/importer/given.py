"""Reads the files, and tells by their shape which of the three each is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fluxlora.errors import InputError

# The guide's largest has two kilobytes.
_MOST_BYTES = 1_000_000
_CONFIG, _BACKENDS, _LYCORIS = "config.json", "multidatabackend.json", "lycoris_config.json"


@dataclass(frozen=True)
class Given:
    """What the files hold."""

    config: Mapping[str, Any]
    backends: Sequence[Mapping[str, Any]] | None = None
    lycoris: Mapping[str, Any] | None = None


def read(files: Sequence[Path]) -> Given:
    """The files' content. Raises InputError, one sentence, for anything that cannot be one of the three."""
    found: dict[str, tuple[Path, Any]] = {}
    for file in files:
        content = _json(file)
        kind = _kind(file, content)
        if kind in found:
            raise InputError(f"{found[kind][0]} and {file} both look like a {kind}: name one of them.")
        found[kind] = (file, content)
    if _CONFIG not in found:
        raise InputError("None of the files is a config.json, an object of SimpleTuner's options: name it too.")
    return Given(
        config=found[_CONFIG][1],
        backends=found[_BACKENDS][1] if _BACKENDS in found else None,
        lycoris=found[_LYCORIS][1] if _LYCORIS in found else None,
    )


def _json(file: Path) -> Any:
    if file.suffix in (".toml", ".env"):
        raise InputError(f"{file} is in a form that is not read here: only SimpleTuner's config.json is.")
    try:
        if not file.is_file():
            raise InputError(f"{file} is {'a folder' if file.is_dir() else 'not there'}: name the file itself.")
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file} is larger than a megabyte, and so no configuration of SimpleTuner.")
        text = file.read_bytes().decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{file} is no JSON, {where}: {error.msg}.", code="bad_json") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8, and so no JSON.", code="bad_json") from error
    except RecursionError as error:
        raise InputError(f"{file} is nested too deep for a configuration.", code="bad_json") from error
    except ValueError as error:
        raise InputError(f"{file} holds a number that is none: {error}.", code="bad_json") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _kind(file: Path, content: Any) -> str:
    if isinstance(content, list):
        if not content or not all(isinstance(entry, dict) for entry in content):
            raise InputError(f"{file} is a list, and not of data backends: each has to be an object in braces.")
        return _BACKENDS
    if not isinstance(content, dict):
        raise InputError(f"{file} holds {type(content).__name__}, where an object in braces is expected.")
    if not content:
        raise InputError(f"{file} is empty.")
    return _LYCORIS if isinstance(content.get("algo"), str) else _CONFIG
