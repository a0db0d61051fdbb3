"""The command that answers over HTTP: serve."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fewshot.cli.app import AsJson, WrongUsage, command, note
from fewshot.errors import InputError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@command(
    "fewshot serve tickets",
    "fewshot serve tickets embedded:causal --port 8080",
    "fewshot serve tickets --host 0.0.0.0 --key-env FEWSHOT_KEY",
)
def serve(
    served: Annotated[
        list[str] | None,
        typer.Argument(metavar="FOLDER|MODEL", help="Folders of saved classifiers, and names or folders of models."),
    ] = None,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port to listen at. 0 means any free port.")
    ] = 8000,
    key_env: Annotated[
        str | None,
        typer.Option(
            "--key-env",
            metavar="NAME",
            help="The environment variable that holds the key. Every request must send this key.",
        ),
    ] = None,
    max_waiting: Annotated[
        int,
        typer.Option(
            "--max-waiting", metavar="N", min=1, help="How many requests may wait. Further ones get the status 503."
        ),
    ] = 256,
    windows: Annotated[
        bool,
        typer.Option(
            "--windows",
            help="Let encoders read long texts whole, in overlapping windows. Default: a text that is too long is "
            "refused.",
        ),
    ] = False,
    follow_paths: Annotated[
        bool,
        typer.Option("--follow-paths", help="Allow saved classifiers to load their models from local folders."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer questions about texts over HTTP.

    This is a server of typed decisions. A request sends a text (the state) and questions about it, each with its
    options. POST /v1/systemone takes the format of System One, and POST /v1/decisions that of OpenAI.

    A saved classifier has the name of its folder. It answers the questions whose options are its classes. The first
    model answers all other questions, zero-shot. Without FOLDER or MODEL this is the default encoder.

    Ctrl-C or SIGTERM ends the server, after it has answered the requests that it had accepted.
    """
    key = _key(key_env)
    made = _made(served or [], follow_paths, windows)
    from fewshot.extras import need

    need("starlette", "fewshot serve needs")
    need("uvicorn", "fewshot serve needs")
    from fewshot import serving

    if key is None and host not in _LOOPBACK:
        note(f"everybody who can reach {host} gets answers. To require a key, give --key-env NAME.")
    app = serving.application(made, key=key, max_waiting=max_waiting)

    def say(url: str) -> None:
        if as_json:
            typer.echo(json.dumps({"url": url, "served": list(made)}, ensure_ascii=False))
        else:
            typer.echo(f"{', '.join(made)}: {url}/v1/systemone, {url}/v1/decisions")

    serving.serve(app, host, port, ready=say)


def _key(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise WrongUsage(f"--key-env {name}: this environment variable is not set, or it is empty. Set it to the key.")
    return key


def _made(served: list[str], follow_paths: bool, windows: bool) -> dict[str, Any]:
    """What answers, by name."""
    from fewshot.models.loading import load
    from fewshot.serving.kept import kept_class

    options: dict[str, Any] = {}
    if windows:
        from fewshot.models.windows import Windows

        options["windows"] = Windows()
    if not served:
        return {"default": load(**options)}
    made: dict[str, Any] = {}
    for one in served:
        path = Path(one)
        name = path.resolve().name if path.exists() else one
        if name in made:
            raise InputError(f"Two of the classifiers and models are called {name!r}: rename one of the folders.")
        kept = kept_class(path)
        made[name] = load(one, **options) if kept is None else kept.load(path, follow_paths=follow_paths)
    return made
