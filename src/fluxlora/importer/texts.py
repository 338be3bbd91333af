"""YAML for Ansible, in which only our own texts are templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_MARKS = ("{{", "{%", "{#")


class Template(str):
    """A text that Ansible is to fill in. Any other that looks like one is somebody's, and must never be run."""

    __slots__ = ()


def dump(variables: Mapping[str, Any], width: int) -> str:
    """The variables as YAML, somebody's braces marked as !unsafe."""
    return yaml.dump(dict(variables), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)


class _Dumper(yaml.SafeDumper):
    """Knows the two kinds of text."""

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
