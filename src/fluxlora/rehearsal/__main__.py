"""`python -m fluxlora.rehearsal serve`: the stand-ins on their own."""

from __future__ import annotations

import click

from fluxlora.errors import FluxloraError
from fluxlora.rehearsal.serve import serve


@click.group()
def main() -> None:
    """The stand-in vast.ai and Hub."""


@main.command("serve")
@click.option("--port", default=0, show_default="any free one", help="The stand-in vast.ai's port on 127.0.0.1.")
@click.option("--hosts", type=click.Choice(["none", "containers"]), default="none", show_default=True)
@click.option("--until-eof", is_flag=True, help="End when standard input ends, that is, with the caller.")
@click.option("--speed", default=1.0, show_default=True, help="How fast instances pass through their states.")
@click.option("--clock-rate", default=1.0, show_default=True, help="How much faster money runs than the wall clock.")
@click.option("--seed", default=1, show_default=True, help="Which market.")
def serve_command(port: int, hosts: str, until_eof: bool, speed: float, clock_rate: float, seed: int) -> None:
    """Serve until interrupted; prints one line of JSON with url, api_key, hub_url and hub_token."""
    try:
        serve(port=port, hosts=hosts, until_eof=until_eof, speed=speed, clock_rate=clock_rate, seed=seed)
    except FluxloraError as error:
        raise click.ClickException(f"{error} {error.hint}") from error


if __name__ == "__main__":
    main()
