"""The real SimpleTuners: `trainer("3.1.6").run("-c", "...")`, or its `.python`; each is made once and kept."""

from __future__ import annotations

from collections.abc import Callable

import environments
import pytest


@pytest.fixture(scope="session")
def trainer() -> Callable[[str], environments.Trainer]:
    """By version."""
    return environments.trainer
