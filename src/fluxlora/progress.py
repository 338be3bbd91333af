"""What the training on an instance says of itself, read on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """The instance's progress.json, and whether the session that writes it is alive."""

    facts: Mapping[str, Any]
    alive: bool

    @property
    def phase(self) -> str:
        """One of starting, caching, training, validating, saving, finished, failed."""
        return str(self.facts.get("phase", "starting"))

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in ("finished", "failed")

    @property
    def loss(self) -> float | None:
        """The last step's loss; none before the first step."""
        return self.facts.get("loss")

    @property
    def checkpoints(self) -> list[int]:
        """The steps whose checkpoints are whole on the instance's disk."""
        return list(self.facts.get("checkpoints", []))

    @property
    def errors(self) -> list[str]:
        """The trainer's own error lines."""
        return list(self.facts.get("errors", []))

    def line(self) -> str:
        """For people: where the training is."""
        if not self.facts.get("step"):
            return self.phase
        parts = [f"{self.phase}, step {self.facts['step']}/{self.facts.get('steps', '?')}"]
        parts += [f"epoch {self.facts['epoch']}"] if self.facts.get("epoch") else []
        parts += [f"loss {self.loss:.4f}"] if self.loss is not None else []
        parts += [f"lr {self.facts['lr']:.2e}"] if self.facts.get("lr") else []
        parts += [f"{self.facts['seconds_per_step']:.2f} s/step"] if self.facts.get("seconds_per_step") else []
        return ", ".join(parts)
