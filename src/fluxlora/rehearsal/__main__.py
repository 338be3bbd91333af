"""`python -m fluxlora.rehearsal serve` is `fluxlora rehearsal serve` for whoever knows the interpreter only."""

import sys

from fluxlora.cli import main

main(["rehearsal", *sys.argv[1:]])
