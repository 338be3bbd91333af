"""Which runs a call is about, and whether there are any: a verb that matches no run is a mistake, not a success."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from fluxlora.errors import InputError
from fluxlora.text import one_line
from fluxlora.vast.labels import Label

# Verbs that make a plan for each run; a name that is new is a new run.
PLANNING = frozenset({"check", "offers", "plan", "render", "train"})
# Verbs that a run must be known to, for a name that is not known is misspelt.
NEEDING_A_KNOWN_RUN = frozenset({"destroy", "status"})
# Verbs that work on what the inventory of vast.ai lists.
NEEDING_INSTANCES = frozenset({"destroy", "fetch", "status", "stop"})
# Verbs whose run_name, if they take one, is not the name of a run that they look for.
WITHOUT_RUNS = frozenset({"audit", "import", "init", "presets"})


@dataclass(frozen=True)
class Call:
    """One call of a playbook, and what there is: runs by their names."""

    verb: str
    # As -e run_name gives it; None where it does not.
    run_name: str | None = None
    # Runs that the inventory's file names.
    listed: tuple[str, ...] = ()
    # Runs that have an instance.
    rented: tuple[str, ...] = ()
    # Whether vast.ai's inventory was read, so that a run without an instance has none.
    asked: bool = True
    # Runs that this computer's journal knows.
    remembered: tuple[str, ...] = ()
    # As --limit gives it, and what it leaves of localhost and of the runs.
    limit: str = ""
    left: frozenset[str] = frozenset()

    @property
    def named(self) -> tuple[str, ...]:
        """The runs of run_name."""
        return tuple(name.strip() for name in self.run_name.split(",")) if self.run_name is not None else ()

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs that this call is about, --limit aside."""
        if self.verb in WITHOUT_RUNS:
            return ()
        if self.run_name is not None:
            return self.named
        if self.verb in PLANNING or self.verb == "fetch":
            return _once([*self.listed, *self.rented])
        return () if self.verb == "doctor" else self.rented

    def refusal(self) -> str:
        """Why this call would do nothing, or something else than was meant, in a sentence; empty where it would not."""
        return self._bad_name() or self._not_asked() or self._no_run() or self._limited_away()

    def _bad_name(self) -> str:
        if self.verb in WITHOUT_RUNS:
            return ""
        wrong = [fault for name in self.named if name not in self.rented and (fault := _fault(name))]
        if not wrong:
            return ""
        return f"{' '.join(_once(wrong))} It is given with --name my-style, or -e run_name=my-style."

    def _not_asked(self) -> str:
        if self.asked or self.verb not in NEEDING_INSTANCES:
            return ""
        return (
            f"{self.verb}.yml needs the inventory of vast.ai, or it cannot know which instances there are: call it "
            "without -i, or add -i inventory/vastai.yml."
        )

    def _no_run(self) -> str:
        if self.runs:
            unknown = [name for name in self.runs if name not in (*self.listed, *self.rented, *self.remembered)]
            return self._unknown(unknown) if unknown and self.verb in NEEDING_A_KNOWN_RUN else ""
        if self.verb in PLANNING:
            return (
                f"There is no run to {self.verb}: name one with -e run_name=my-style, or write it into "
                "inventory/runs.yml."
            )
        if self.verb == "fetch":
            return (
                "There is no run to fetch: none has an instance, and inventory/runs.yml names none. Name the run that "
                "is looked for on the Hub, -e run_name=my-style."
            )
        if self.verb == "stop":
            return "There is no run to stop: no instance on this account was rented by fluxlora, so none costs money."
        return ""

    def _unknown(self, names: list[str]) -> str:
        has = "has" if len(names) == 1 else "have"
        nearest = difflib.get_close_matches(names[0], [*self.rented, *self.listed, *self.remembered], n=1)
        meant = f" Did you mean {nearest[0]}?" if nearest else ""
        with_instance = ", ".join(self.rented) or "none"
        return (
            f"{' and '.join(names)} {has} no instance: nothing of it costs money. Neither inventory/runs.yml nor the "
            f"journal of this computer knows a run of this name.{meant} Runs that have an instance: {with_instance}."
        )

    def _limited_away(self) -> str:
        if not self.limit:
            return ""
        limit = one_line(self.limit, 80)
        if "localhost" not in self.left:
            return (
                f"--limit {limit} leaves out localhost, where each verb begins, so nothing would be done: choose the "
                "runs with -e run_name=my-style,my-cat instead."
            )
        if self.runs and not self.left.intersection(self.runs):
            return (
                f"--limit {limit} leaves out every run that this is about, {', '.join(self.runs)}: choose the runs "
                "with -e run_name=my-style,my-cat instead."
            )
        return ""


def _fault(name: str) -> str:
    try:
        Label(name)
    except InputError as error:
        return f"{error} {error.hint}"
    return ""


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
