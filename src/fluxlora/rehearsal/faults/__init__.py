"""What can go wrong with vast.ai, by name: what it does, and what fluxlora makes of it."""

from fluxlora.rehearsal.faults import boots, ends, later, lists, rents, texts
from fluxlora.rehearsal.faults.registry import BOOT, FAULTS, Fault, Faults, api_fault, boot_fault

__all__ = [
    "BOOT",
    "FAULTS",
    "Fault",
    "Faults",
    "api_fault",
    "boot_fault",
    "boots",
    "ends",
    "later",
    "lists",
    "rents",
    "texts",
]
