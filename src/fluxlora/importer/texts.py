"""YAML for Ansible, in which only fluxlora's own texts are templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_MARKS = ("{{", "{%", "{#")


class Template(str):
    """A text that Ansible must evaluate. Any other text that looks like a template is imported, and must never be
    evaluated."""

    __slots__ = ()


def dump(variables: Mapping[str, Any], width: int) -> str:
    """Return the variables as YAML, with imported braces marked as !unsafe."""
    return yaml.dump(dict(variables), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)


class _Dumper(yaml.SafeDumper):
    """Writes the two kinds of text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _ours(dumper: yaml.SafeDumper, text: Template) -> yaml.ScalarNode:
    return dumper.represent_str(str(text))


def _anybodys(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if any(mark in text for mark in _MARKS):
        return dumper.represent_scalar("!unsafe", text, style='"')
    return dumper.represent_str(text)


_Dumper.add_representer(Template, _ours)
_Dumper.add_representer(str, _anybodys)
