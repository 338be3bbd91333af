"""What can go wrong with vast.ai, by name. Importing this package registers all faults."""

from fluxlora.rehearsal.vast.arming import FAULTS
from fluxlora.rehearsal.vast.faults import after_boot, boot, destroy, hostile_text, listing, rent

__all__ = ["FAULTS", "after_boot", "boot", "destroy", "hostile_text", "listing", "rent"]
