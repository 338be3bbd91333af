"""`python -m fluxlora` is the command `fluxlora`, for callers that know only the interpreter."""

from fluxlora.cli import main

main()
