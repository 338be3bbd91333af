"""The label of an instance, `fluxlora/<run>/<preset>+<preset>`: all the state a run keeps besides vast.ai's records."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fluxlora.errors import InputError

PREFIX = "fluxlora"
# The run is also a host name, a folder and the name of a Hub repository, whose rules are the strictest of the three.
RUN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|[._-](?=[A-Za-z0-9])){0,63}")
PRESET = re.compile(r"[A-Za-z0-9_]+")
# With a slash or a space in it no instance would be found again, and each call would rent one more.
PREFIXES = re.compile(r"[A-Za-z0-9._-]+")
# A host named like a group would be addressed by the group's plays.
RESERVED = frozenset({"all", "ungrouped", "localhost", "training", "rehearsal", "vastai", "may_spend"})
# A run's delivered adapter is RUN.safetensors, beside the one that SimpleTuner writes.
ADAPTER_STEM = "pytorch_lora_weights"
# vast.ai's limit at renting.
MAX_LENGTH = 256


@dataclass(frozen=True)
class Label:
    """One run and its presets. Raises InputError for names that vast.ai, Ansible or the Hub refuse."""

    run: str
    presets: tuple[str, ...] = ()
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        if not PREFIXES.fullmatch(self.prefix):
            raise InputError(
                f"{self.prefix!r} cannot begin a label.",
                hint="Use letters, digits, '.', '_' and '-'.",
                code="bad_label_prefix",
            )
        if not RUN.fullmatch(self.run):
            raise InputError(
                f"{self.run!r} is not a name for a run.",
                hint="Use up to 64 letters, digits, and single '.', '_' or '-' between them, for example my-style.",
                code="bad_run_name",
            )
        if self.run.casefold() == ADAPTER_STEM:
            raise InputError(
                f"A run cannot be called {self.run!r}: the file that SimpleTuner writes has this name.",
                hint="Choose another.",
                code="bad_run_name",
            )
        if self.run in RESERVED or self.run.startswith("preset_"):
            raise InputError(
                f"A run cannot be called {self.run!r}: a group has this name.",
                hint="Choose another.",
                code="bad_run_name",
            )
        for preset in self.presets:
            if not PRESET.fullmatch(preset):
                raise InputError(
                    f"{preset!r} is not a name for a preset.",
                    hint="Use letters, digits and '_'.",
                    code="bad_preset_name",
                )
        if len(str(self)) > MAX_LENGTH:
            raise InputError(
                f"The label of {self.run} would be longer than vast.ai's {MAX_LENGTH} characters.",
                hint="Choose a shorter name or fewer presets.",
                code="label_too_long",
            )

    def __str__(self) -> str:
        return f"{self.prefix}/{self.run}/{'+'.join(self.presets)}"

    @classmethod
    def parse(cls, text: str | None, prefix: str = PREFIX) -> Label | None:
        """The label that `str` wrote; None for anybody else's."""
        parts = (text or "").strip().split("/")
        if len(parts) != 3 or parts[0] != prefix:
            return None
        try:
            return cls(parts[1], tuple(parts[2].split("+")) if parts[2] else (), prefix)
        except InputError:
            return None


def command_to_end(run: str, instance_id: int, prefix: str = PREFIX) -> str:
    """Fluxlora's own command says of another prefix's run that it has no instance."""
    return f"`fluxlora destroy {run}`" if prefix == PREFIX else f"`vastai destroy instance {instance_id}`"
