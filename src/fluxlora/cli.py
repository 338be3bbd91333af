"""The command for people who don't know Ansible: every verb is a playbook, no rule lives here."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fluxlora.errors import FluxloraError, InputError
from fluxlora.runner.passes import play_to_the_end
from fluxlora.runner.play import Outcome, play
from fluxlora.runner.screen import Screen
from fluxlora.settings.credentials import without_secrets

Command = Callable[..., Any]
# What shells report of a command that Ctrl-C ended.
_INTERRUPTED = 128 + signal.SIGINT
# What Ansible takes for a template, wherever it came from on the command line.
_TEMPLATE = re.compile(r"\{[{%#]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error of ours is one sentence and what to do, never a traceback."""
    # A terminal whose encoding lacks a character shows a ? in its place.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(cli(arguments, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo("Aborted!", err=True)
        interrupted = isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)
        sys.exit(_INTERRUPTED if interrupted else 1)
    except FluxloraError as error:
        click.echo(f"fluxlora: {error}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fluxlora")
def cli() -> None:
    """Train a FLUX.1 LoRA on a GPU rented from vast.ai, for the least money, and leave nothing running."""


_presets = click.option(
    "-p", "--preset", "--presets", "presets", multiple=True, help="A preset, 512 or lokr for example; repeatable."
)
_settable = click.option("-e", "--set", "settings", multiple=True, metavar="VARIABLE=VALUE", help="Set a variable.")


def _planned(command: Command) -> Command:
    """The options that describe a run."""
    for option in (
        _settable,
        _presets,
        click.option("-n", "--name", help="The run's name; the dataset folder's when not given."),
        click.argument("dataset", type=click.Path(exists=True, file_okay=False)),
    ):
        command = option(command)
    return command


@cli.command()
@_planned
def plan(dataset: str, name: str | None, presets: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Check the dataset and settings, and show steps, hours and the best offers. Spends nothing."""
    _finish(_play("plan", _run(dataset, name, presets) | _settings(settings)))


@cli.command()
@_planned
@click.option("--refused", is_flag=True, help="Say of each other offer why it was passed over.")
def offers(dataset: str, name: str | None, presets: tuple[str, ...], settings: tuple[str, ...], refused: bool) -> None:
    """Show the market for this run: the ten offers with the least expected cost, and how far that may be off."""
    shown = {"provision_show_refused": "true"} if refused else {}
    _finish(_play("offers", _run(dataset, name, presets) | shown | _settings(settings)))


@cli.command()
@_planned
@click.option("--fix", "copy", type=Path, metavar="FOLDER", help="Write a corrected copy there; nothing else changes.")
def check(
    dataset: str, name: str | None, presets: tuple[str, ...], settings: tuple[str, ...], copy: Path | None
) -> None:
    """Look at every picture and caption, and say what the training will make of it. Needs no key and no network."""
    run = _run(dataset, name, presets) | ({"plan_corrected_copy": str(copy.resolve())} if copy else {})
    _finish(_play("check", run | _settings(settings), offline=True))


@cli.command()
@_planned
@click.option("--rehearse", is_flag=True, help="Hold the whole run on this machine, for free, scaled down.")
def train(dataset: str, name: str | None, presets: tuple[str, ...], settings: tuple[str, ...], rehearse: bool) -> None:
    """Rent, train, bring the adapter home, give the instance back. Call it again to go on.

    What it was given is kept on this computer, without secrets: the next call for the same run needs none of it, and
    asks where something else is given.
    """
    run = _run(dataset, name, presets) | _settings(settings)
    if rehearse:
        _rehearse(run)
        return
    outcome = play_to_the_end(lambda: _play("train", run))
    if "settings_differ" in outcome.failures and not outcome.detached and sys.stdin.isatty():
        click.confirm("Go on with these changes?", abort=True)
        outcome = play_to_the_end(lambda: _play("train", run | {"run_settings": "changed"}))
    if outcome.detached:
        click.echo("\n".join(_ways_back(dataset, run["run_name"], presets, settings)))
    _finish(outcome)


def _ways_back(dataset: str, run: str, presets: Sequence[str], settings: tuple[str, ...]) -> list[str]:
    """The commands for who comes back, as they can be pasted: by the name that this one was called, without secrets."""
    shown = without_secrets(_settings(settings))
    given = [
        *(word for preset in presets for word in ("-p", preset)),
        *(word for name, value in shown.value.items() for word in ("-e", f"{name}={value}")),
    ]
    secrets = [f"            Give it what is secret again: {', '.join(shown.dropped)}"] if shown.dropped else []
    # A folder may be called like an option.
    folder = f"./{dataset}" if dataset.startswith("-") else dataset
    called = _called()
    return [
        "",
        "Left alone. If an instance was rented it goes on, and costs money.",
        f"Come back:  {shlex.join([called, 'train', folder, '--name', run, *given])}",
        *secrets,
        f"Look at it: {shlex.join([called, 'status', run])}",
        f"End it:     {shlex.join([called, 'destroy', run])}",
    ]


def _called() -> str:
    """What the user typed to call this command, or the shorter name by which the shell finds the same."""
    typed = Path(sys.argv[0])
    found = shutil.which(typed.name)
    by_name = typed.is_absolute() and found and typed.exists() and Path(found).samefile(typed)
    return typed.name if by_name else sys.argv[0]


@cli.command()
@click.argument("dataset", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("-n", "--name", default="rehearsed", show_default=True, help="The run's name, one of yours for example.")
@_presets
@_settable
def rehearse(dataset: str | None, name: str, presets: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Hold a whole run on this machine: real SimpleTuner, a tiny model, no account, no money."""
    from fluxlora.project import project_dir

    _rehearse(_run(dataset or str(project_dir() / "examples" / "dataset"), name, presets) | _settings(settings))


@cli.command()
@click.option("--mint-key", is_flag=True, help="Also make a vast.ai key that may do only what a run needs, and use it.")
@_settable
def init(mint_key: bool, settings: tuple[str, ...]) -> None:
    """Make an ssh key where there is none and register it with vast.ai. Call it again as you like."""
    _finish(_play("init", ({"doctor_mint_key": "true"} if mint_key else {}) | _settings(settings), offline=True))


@cli.command()
@click.argument("run", required=False)
@_presets
@_settable
def doctor(run: str | None, presets: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Prove every key, the credit, the ssh key and this computer; with RUN also what that run needs. Spends nothing."""
    outcome = _play("doctor", _named(run) | _chosen(presets) | _settings(settings), offline=True)
    sys.exit(outcome.status if outcome.detached else min(outcome.code, 1))


@cli.command("import")
@click.argument("files", nargs=-1, required=True, type=Path)
@click.option("-n", "--name", help="The run's name; when not given, what the files call the adapter.")
@click.option("--simpletuner", "version", help="The version whose options count, 4.10.1 for example.")
def import_(files: tuple[Path, ...], name: str | None, version: str | None) -> None:
    """Make a run of a config.json, and of a multidatabackend.json and lycoris_config.json that belong to it.

    Names every key that is renamed, dropped or corrected, with the reason. Needs no key and no network.
    """
    given = {"import_files": [str(file.absolute()) for file in files]}
    line = {"simpletuner_version": version} if version else {}
    _finish(_play("import", given | _named(name) | line, offline=True))


@cli.command()
@click.option("-n", "--name", default="my-style", show_default=True, help="The run's name, which the files hold too.")
@_presets
@_settable
@click.option("-o", "--output", "folder", type=Path, required=True, help="Folder; the files go to its config/.")
def render(name: str, presets: tuple[str, ...], settings: tuple[str, ...], folder: Path) -> None:
    """Write SimpleTuner's files as they would land on the instance. Needs no key, no dataset and no network."""
    run = {"run_name": name, "render_dir": str(folder.resolve())} | _chosen(presets)
    _finish(_play("render", run | _settings(settings), offline=True))


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def presets(names: tuple[str, ...]) -> None:
    """List the presets; with names, show what these set and why, and whether they combine."""
    _finish(_play("presets", _chosen(names), offline=True))


@cli.command()
@click.argument("run", required=False)
def status(run: str | None) -> None:
    """Show what the runs do and what they cost."""
    _finish(_play("status", _named(run)))


@cli.command()
@click.argument("run")
def fetch(run: str) -> None:
    """Bring the run's checkpoints, images and adapter home, and check them."""
    _finish(_play("fetch", _named(run)))


@cli.command()
@click.argument("run")
def stop(run: str) -> None:
    """Stop the training and keep the instance, which goes on costing money."""
    _finish(_play("stop", _named(run)))


@cli.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="Every run's, whichever computer rented it.")
@click.option("--unsaved", is_flag=True, help="Destroy even what has not been brought home.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@_settable
def destroy(runs: tuple[str, ...], everything: bool, unsaved: bool, yes: bool, settings: tuple[str, ...]) -> None:
    """Give the runs' instances back, after showing what each is and costs, and asking.

    Refuses while an adapter has not been brought home. Instances that fluxlora did not rent are never touched.
    """
    given = _named(",".join(runs)) | ({"destroy_all": "true"} if everything else {})
    given |= ({"provision_destroy_unsaved": "true"} if unsaved else {}) | _settings(settings)
    if not yes and sys.stdin.isatty():
        shown = _play("destroy", given, check=True)
        if shown.detached or not shown.changed:
            _finish(shown)
        yes = click.confirm("Give them back?", abort=True)
    _finish(_play("destroy", given | {"provision_destroy_confirmed": str(yes).lower()}))


@cli.command()
@_settable
def audit(settings: tuple[str, ...]) -> None:
    """Find what costs money and should not: journal, vast.ai's list and its charges against each other.

    Exits 0 where nothing does, and otherwise also when vast.ai cannot be asked: fit for cron. Destroys nothing.
    """
    _finish(_play("audit", _settings(settings), offline=True))


@cli.group()
def rehearsal() -> None:
    """The stand-in vast.ai, Hub and Weights & Biases, on their own."""


@rehearsal.command()
@click.option("--port", default=0, show_default="any free one", help="The stand-in vast.ai's port on 127.0.0.1.")
@click.option("--hosts", type=click.Choice(["none", "containers"]), default="none", show_default=True)
@click.option("--until-eof", is_flag=True, help="End when standard input ends, that is, with the caller.")
@click.option("--speed", default=1.0, show_default=True, help="How fast instances pass through their states.")
@click.option("--clock-rate", default=1.0, show_default=True, help="How much faster money runs than the wall clock.")
@click.option("--seed", default=1, show_default=True, help="Which market.")
@click.option("--machines", default=1, show_default=True, help="How many machines of each kind are on it.")
def serve(**options: Any) -> None:
    """Serve until interrupted; prints one line of JSON with the url and key of each stand-in."""
    from fluxlora.rehearsal.serve import serve as serve_

    serve_(**options)


def _rehearse(run: Mapping[str, str]) -> None:
    from fluxlora.rehearsal.session import rehearse as rehearse_

    _finish(rehearse_(run, say=click.echo))


def _run(dataset: str, name: str | None, presets: tuple[str, ...]) -> dict[str, str]:
    folder = Path(dataset).resolve()
    run = {"run_name": name or folder.name, "dataset_path": str(folder)}
    return _plain(run) | _chosen(presets)


def _chosen(presets: tuple[str, ...]) -> dict[str, str]:
    return _plain({"run_presets": ",".join(presets)}) if presets else {}


def _named(run: str | None) -> dict[str, str]:
    return _plain({"run_name": run}) if run else {}


def _plain(words: dict[str, str]) -> dict[str, str]:
    """Words that Ansible takes as they are. Raises InputError for others."""
    if odd := [word for word in words.values() if not word.isprintable() or _TEMPLATE.search(word)]:
        raise InputError(
            f"{odd[0]!a} cannot be the name of a run, a preset or a dataset's folder.",
            hint="Ansible reads {{, {% and {# as templates, and control characters break logs: choose another name.",
        )
    return words


def _settings(settings: tuple[str, ...]) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in settings]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise click.BadParameter(f"{wrong[0]!r} is not VARIABLE=VALUE", param_hint="--set")
    return {name: value for name, _, value in pairs}


def _play(verb: str, variables: Mapping[str, Any], *, check: bool = False, offline: bool = False) -> Outcome:
    return play(verb, variables, check=check, offline=offline, on_event=_screen().on_event)


def _screen() -> Screen:
    """On a terminal progress is one line that is written over, and goes when the next thing is said."""
    clear = "\r\x1b[K"
    if not sys.stdout.isatty():
        return Screen(say=click.echo)
    return Screen(say=lambda line: click.echo(clear + line), draw=lambda line: click.echo(clear + line, nl=False))


def _finish(outcome: Outcome) -> None:
    """Exit as the playbook did; what was interrupted has not succeeded."""
    sys.exit(outcome.status)
