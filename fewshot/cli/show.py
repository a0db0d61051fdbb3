"""The command that says what is kept in a folder: show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fewshot.cli.app import AsJson, command
from fewshot.errors import InputError


@command("fewshot show tickets", "fewshot show /srv/classifiers/tickets", "fewshot show tickets --json")
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a saved classifier.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what a folder of a saved classifier holds.

    It prints the card of the classifier and the list of its files. The card names the classes, the data that it learned
    from, and its models. No model is loaded. A file that was changed after saving is an error. Only the card may be
    edited: it is shown as it is.
    """
    from fewshot.persistence.folder import CARD, CONFIG, Kept
    from fewshot.persistence.limits import read_json

    kept = Kept(folder)
    config = read_json(kept.read(CONFIG), CONFIG)
    if not isinstance(config, dict) or config.get("library") != "fewshot":
        raise InputError(f"{str(folder)!r} holds no kept classifier: its {CONFIG} was not written by fewshot.")
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    if as_json:
        found: dict[str, Any] = {name: config[name] for name in ("class", "format", "versions", "models")}
        typer.echo(json.dumps({**found, "card": card, "files": kept.sizes}, ensure_ascii=False))
        return
    if card:
        typer.echo(card.removeprefix("---\n").partition("\n---\n")[2].strip() if card.startswith("---\n") else card)
    typer.echo(f"\n## Files of this {config['class']}, all as they were written\n")
    for name, size in kept.sizes.items():
        typer.echo(f"{size:>12,}  {name}")
    typer.echo(f"{sum(kept.sizes.values()):>12,}  bytes in all")
