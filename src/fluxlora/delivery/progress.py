"""What the training on an instance says of itself, read on the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fluxlora.untrusted.schemas import ProgressRecord

Status = Literal["absent", "running", "finished", "failed", "lost"]


@dataclass(frozen=True)
class Progress:
    """The instance's progress.json, None before it is written, and whether the session that writes it is alive."""

    record: ProgressRecord | None
    alive: bool

    @property
    def status(self) -> Status:
        """What both mean together; lost when the session is gone without a verdict."""
        if self.record and self.record.phase in ("finished", "failed"):
            return "finished" if self.record.phase == "finished" else "failed"
        if self.alive:
            return "running"
        return "lost" if self.record else "absent"

    @property
    def phase(self) -> str:
        """One of starting, caching, training, validating, saving, finished, failed."""
        return self.record.phase if self.record else "starting"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in ("finished", "failed")

    @property
    def loss(self) -> float | None:
        """The last step's loss; none before the first step."""
        return self.record.loss if self.record else None

    @property
    def checkpoints(self) -> list[int]:
        """The steps whose checkpoints are whole on the instance's disk."""
        return list(self.record.checkpoints) if self.record else []

    @property
    def errors(self) -> list[str]:
        """The trainer's own error lines."""
        return list(self.record.errors) if self.record else []

    def as_facts(self) -> dict[str, Any]:
        """For Ansible: the record with what it left out filled in, empty before there is one."""
        return self.record.model_dump() if self.record else {}

    def line(self) -> str:
        """For people: where the training is."""
        record = self.record
        if not record or not record.step:
            return self.phase
        parts = [f"{self.phase}, step {record.step}/{record.steps or '?'}"]
        parts += [f"epoch {record.epoch}"] if record.epoch else []
        parts += [f"loss {record.loss:.4f}"] if record.loss is not None else []
        parts += [f"lr {record.lr:.2e}"] if record.lr else []
        parts += [f"{record.seconds_per_step:.2f} s/step"] if record.seconds_per_step else []
        return ", ".join(parts)

    def report(self) -> list[str]:
        """For people who ask once: its status and where it is, then the trainer's own error lines."""
        record = self.record
        parts: list[str] = [self.status]
        if record:
            parts += [record.phase] if self.status == "running" else []
            parts += [f"step {record.step} of {record.steps}"]
            parts += [f"loss {record.loss:.4f}"] if record.loss is not None else []
            parts += [f"last checkpoint {record.checkpoints[-1]}"] if record.checkpoints else []
        return [", ".join(parts), *self.errors]
