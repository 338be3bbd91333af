"""What SimpleTuner renamed and removed since the guide was written: the one table, by hand, a reason for each.

Which versions know which name is not said here: the facts say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fluxlora.trainer.facts import facts


@dataclass(frozen=True)
class Change:
    """A name that some version does not know, and what to write there instead."""

    old: str
    # None where nothing took its place.
    new: str | None
    # Ends the sentence "SimpleTuner N has no option `old`: ...".
    why: str
    # Options that have to be set with it; the new name among them has that value instead of the old one's.
    also: Mapping[str, Any] = field(default_factory=dict)
    # How a switch that nothing took the place of stands now, for good.
    stands: bool = False


def change(line: str, name: str) -> Change | None:
    """How a name that the line does not know is to be written there; None where the table does not tell."""
    known = facts(line).options
    found = _BY_NAME.get(name)
    return found if found and name not in known and (found.new is None or found.new in known) else None


_ONE_SCHEDULE = "version 2 gave the schedule of all flow-matching models one name, where FLUX had its own"
_BLOCK_OFFLOAD = "version 4 offloads with musubi_blocks_to_swap or ramtorch"

CHANGES = (
    Change(
        "flux_schedule_auto_shift",
        "flow_schedule_auto_shift",
        f"{_ONE_SCHEDULE}; it excludes a fixed shift, which is 3 unless flow_schedule_shift says 0",
        {"flow_schedule_shift": 0},
    ),
    Change("flux_schedule_shift", "flow_schedule_shift", _ONE_SCHEDULE),
    Change("flux_use_uniform_schedule", "flow_use_uniform_schedule", _ONE_SCHEDULE),
    Change("flux_use_beta_schedule", "flow_use_beta_schedule", _ONE_SCHEDULE),
    Change("flux_beta_schedule_alpha", "flow_beta_schedule_alpha", _ONE_SCHEDULE),
    Change("flux_beta_schedule_beta", "flow_beta_schedule_beta", _ONE_SCHEDULE),
    Change("flow_matching_sigmoid_scale", "flow_sigmoid_scale", _ONE_SCHEDULE),
    Change("flow_matching_loss", None, "the loss of a flow-matching model is no longer a choice"),
    Change("allow_tf32", None, "TF32 is on unless disable_tf32 is set"),
    Change(
        "enable_xformers_memory_efficient_attention",
        "attention_mechanism",
        "one option chooses the kind of attention",
        {"attention_mechanism": "xformers"},
    ),
    Change("benchmark_base_model", None, "the base model is always benchmarked unless disable_benchmark is set"),
    Change("smoldit", None, "SmolDiT was dropped"),
    Change("smoldit_config", None, "SmolDiT was dropped"),
    Change("cache_clear_validation_prompts", None, "version 3 dropped it; an emptied text cache is filled anew"),
    Change("freeze_encoder", None, "version 3 dropped it; train_text_encoder decides"),
    Change("non_ema_revision", None, "version 3 dropped it, and nothing had read it"),
    Change("validation_torch_compile", None, "version 4 compiles the model by dynamo_backend, and not for validations"),
    Change("validation_torch_compile_mode", None, "version 4 compiles the model by dynamo_backend and dynamo_mode"),
    Change(
        "ignore_final_epochs",
        None,
        "version 4 has its opposite, strict_epoch_limit, which is off unless set",
        stands=True,
    ),
    Change("enable_group_offload", None, _BLOCK_OFFLOAD),
    Change("group_offload_type", None, _BLOCK_OFFLOAD),
    Change("group_offload_blocks_per_group", None, _BLOCK_OFFLOAD),
    Change("group_offload_text_encoder", None, _BLOCK_OFFLOAD),
    Change("group_offload_to_disk_path", None, _BLOCK_OFFLOAD),
    Change("group_offload_use_stream", None, _BLOCK_OFFLOAD),
    Change("group_offload_vae", None, _BLOCK_OFFLOAD),
    # The other way: a name that is too new for an older release.
    Change("strict_epoch_limit", None, "version 4 introduced it; before, ignore_final_epochs is its opposite"),
)

_BY_NAME = {each.old: each for each in CHANGES}
