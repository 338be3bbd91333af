"""Rules about the machine and where the adapter goes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fluxlora.draft import Draft
from fluxlora.rules.rule import Source, Weight, rule


@rule(Weight.REFUSED, Source.OURS)
def the_disk_is_large_enough(draft: Draft) -> Iterator[str]:
    """What is installed, downloaded, cached and kept fits on the disk."""
    if draft.disk_used_gb > draft.disk_gb:
        yield (
            f"provision_disk_gb is {draft.disk_gb:g}, and this run fills about {draft.disk_used_gb:.0f} GB: "
            f"set it to {math.ceil(draft.disk_used_gb * 1.2)} or more."
        )


@rule(Weight.REFUSED, Source.OURS)
def a_push_has_a_repository(draft: Draft) -> Iterator[str]:
    """What is pushed to the Hub has a name there."""
    if draft.settings.flag("push_to_hub") and not draft.settings.text("hub_model_id"):
        yield (
            "simpletuner_push_to_hub is on and simpletuner_hub_model_id is empty: name the repository, or turn it off."
        )
