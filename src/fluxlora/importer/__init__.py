"""Files that were written for SimpleTuner by hand, after the guide, as the variables of a run."""

from fluxlora.importer.given import Given, read
from fluxlora.importer.notes import Kind, Note
from fluxlora.importer.run import Imported, convert, write

__all__ = ["Given", "Imported", "Kind", "Note", "convert", "read", "write"]
