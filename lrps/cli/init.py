"""The verb `init`: the keys of a config of lrps that follow from a config of another program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lrps.base.errors import ConfigError


def init(
    source: Annotated[Path, typer.Option("--from", metavar="DS_CONFIG.JSON", help="DeepSpeed config to translate.")],
) -> None:
    """Translate a DeepSpeed config into keys of lrps, and say of every line what became of it.

    Prints YAML for a config of lrps: comments about every line of the file, then the sections that follow from it.
    Model, data and paradigms are yours to add.
    """
    import yaml

    from lrps.config.deepspeed.translation import translate

    made = translate(_read(source))
    for fate in (*made.fates, *made.absent):
        typer.echo(f"# {fate.key}: {fate.verb}{': ' if fate.verb != 'became' else ' '}{fate.words}")
    if made.values:
        typer.echo(yaml.safe_dump(made.values, sort_keys=False, default_flow_style=False), nl=False)


def _read(file: Path) -> dict[str, Any]:
    """Return the values of a JSON file. Raises ConfigError for anything else."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; give the path of a DeepSpeed config") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is no text ({error.reason}); give the path of a DeepSpeed config") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: a DeepSpeed config is a mapping of keys")
    return values
