"""The stand-in Hugging Face Hub: as much of its protocol as huggingface_hub 0.36 and 2.x speak about models.

One user with one token; the tiny FLUX under the real one's gated name. Large files take the plain LFS way: no answer
offers Xet. The protocol is what the clients' own sources send and expect.
"""

from fluxlora.rehearsal.hub.app import hub_app

__all__ = ["hub_app"]
