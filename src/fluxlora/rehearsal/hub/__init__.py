"""The stand-in for the Hugging Face Hub: the part of its protocol that huggingface_hub 0.36 and 2.x use for models.

It has one user with one token, and the tiny FLUX under the real one's gated name. Large files use plain LFS, because no
answer offers Xet. Source of the protocol: the requests and expectations in the clients' code.
"""

from fluxlora.rehearsal.hub.app import hub_app

__all__ = ["hub_app"]
