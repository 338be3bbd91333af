"""Files that were written for SimpleTuner by hand, after the guide, as the variables of a run."""

from fluxlora.imported.given import Given, read
from fluxlora.imported.notes import Kind, Note
from fluxlora.imported.run import Imported, convert, write

__all__ = ["Given", "Imported", "Kind", "Note", "convert", "read", "write"]
