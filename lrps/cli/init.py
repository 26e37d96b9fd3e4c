"""The verb `init`: a config for text that is at hand, with the settings of a DeepSpeed config if there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lrps.base.errors import ConfigError
from lrps.base.foreign_json import JsonError, read_json

if TYPE_CHECKING:
    from lrps.config.deepspeed.translation import Translation

_MOST_TEXTS = 24
"""Number of words after --text above which the cause is more likely an unquoted glob than a version for each word."""


class SeveralTexts(TyperCommand):
    """A command whose option `--text` takes all words up to the next option, as `--text A --text B` does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `--text` before every word that follows one."""
        return super().parse_args(ctx, list(_each_with_its_option(args)))


def _each_with_its_option(args: Sequence[str]) -> Iterator[str]:
    follows = False
    for number, word in enumerate(args):
        if follows and not word.startswith("-") and args[number - 1] != "--text":
            yield "--text"
        follows = word == "--text" or word.startswith("--text=") or (follows and not word.startswith("-"))
        yield word


def init(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Name of the plan, whose config is NAME.yaml.", show_default="first"),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="GLOB ...",
            help="Text of a version: a file, a quoted glob or a directory. Several are v1, v2, ..., oldest first.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="llama|qwen3|gpt2|DIR", help="Family of a new model, or directory of one to continue."),
    ] = "llama",
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DS_CONFIG.JSON", help="DeepSpeed config to translate.")
    ] = None,
) -> None:
    """Write a config of the right size for some text, and say what it assumes and what to run next.

    Model, vocabulary, sequence, batch, steps, warm-up and held-out share follow from the amount of text, launch and
    hardware from this machine. A file that exists is never overwritten. With --from and no --text, print what becomes
    of a DeepSpeed config: comments about every line of it, then the sections of a config of lrps.
    """
    translation = _translated(source) if source else None
    if not text and translation is not None and name is None:
        _print_translation(translation)
        return
    if not text:
        raise ConfigError("--text is missing: name the text of every version, for example `lrps init mine --text DIR`")
    if len(text) > _MOST_TEXTS:
        raise ConfigError(
            f"--text names {len(text)} texts, and each would be a version. For one version of many files give their "
            "directory, or quote the glob: --text 'DIR/*.txt'"
        )
    _write(_file_for(name or "first"), text, model, translation)


def _write(file: Path, texts: Sequence[str], model: str, translation: Translation | None) -> None:
    from lrps.base.files import write_once
    from lrps.start.families import FAMILIES
    from lrps.start.first_config import first_config
    from lrps.start.machine import this_machine
    from lrps.start.sizing import sizes_of
    from lrps.start.survey import survey

    if model not in FAMILIES and not Path(model).is_dir():
        known = ", ".join(FAMILIES)
        raise ConfigError(f"--model {model}: neither a family ({known}) nor a directory; it needs one of these")
    given = translation.values if translation else {}
    found, machine = survey(texts), this_machine()
    sizes = sizes_of(found, model, machine, given.get("batch", {}).get("sequences"))
    made = first_config(file.stem, found, sizes, machine, given, tuple(_fates(translation)))
    write_once(file, made.text)
    typer.echo("\n".join([f"wrote {file}", "assumed:", *(f"  {line}" for line in made.assumed)]))
    typer.echo(
        f"next:\n  lrps plan {file}          # what it takes; change the sizes in {file} as you like\n"
        f"  lrps data build {file}    # the text becomes token shards\n"
        f"  lrps run {file}           # trains, and ends with {Path('runs') / file.stem}/report/index.html"
    )


def _file_for(name: str) -> Path:
    """Return the file of a config. Raises ConfigError for a wrong name, and if something of that name exists."""
    file = Path(name.removesuffix(".yaml").removesuffix(".yml") + ".yaml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", file.stem):
        raise ConfigError(f"{file.stem!r}: a name has letters, digits, '.', '-' and '_', and a letter or digit first")
    if not file.parent.is_dir():
        raise ConfigError(f"{file.parent}: no such directory; make it, or give another NAME")
    for taken in (file, Path("runs") / file.stem, Path("data") / file.stem):
        if taken.exists():
            raise ConfigError(
                f"{taken} exists, and nothing is overwritten; give another name: lrps init NAME --text .."
            )
    return file


def _translated(file: Path) -> Translation:
    from lrps.config.deepspeed.translation import translate

    return translate(_read(file))


def _fates(translation: Translation | None) -> Iterator[str]:
    """Yield a line about every line of the translated file."""
    for fate in (*translation.fates, *translation.absent) if translation else ():
        yield f"{fate.key}: {fate.verb}{': ' if fate.verb != 'became' else ' '}{fate.words}"


def _print_translation(translation: Translation) -> None:
    import yaml

    for line in _fates(translation):
        typer.echo(f"# {line}")
    if translation.values:
        typer.echo(yaml.safe_dump(translation.values, sort_keys=False, default_flow_style=False), nl=False)


_ADVICE = "give the path of a DeepSpeed config"


def _read(file: Path) -> dict[str, Any]:
    """Return the values of a JSON file. Raises ConfigError for anything else."""
    try:
        return dict(read_json(file, advice=_ADVICE))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; {_ADVICE}") from None
    except JsonError as error:
        raise ConfigError(str(error)) from None
