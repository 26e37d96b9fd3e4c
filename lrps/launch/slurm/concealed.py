"""Shell text of a user as `lrps run --dry-run` shows it: without the values that may be secrets.

What a value means cannot be known, so all assignments are concealed, and besides them what looks like a credential.
"""

from __future__ import annotations

import re

from lrps.base.addresses import conceal
from lrps.config.launching import SlurmConfig

_QUOTED = r"""'[^']*'|"(?:\\.|[^"\\])*"|\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`|\\."""
_WORD = rf"""(?:{_QUOTED}|[^\s;&|<>()'"`\\])+"""
_CREDENTIAL = r"[\w-]*(?:token|passw(?:or)?d|passphrase|secret|api-?_?key|credentials?|bearer|login)"
_CONCEALED = (
    # A here-document, up to the line with its last word.
    (re.compile(r"(<<-?[ \t]*(['\"]?)(\w+)\2[^\n]*\n).*?(\n[ \t]*\3\b)", re.DOTALL), r"\1...\4"),
    (re.compile(rf"(<<<[ \t]*){_WORD}"), r"\1..."),
    (re.compile(r"(?m)(\b(?:echo|printf)[ \t]+)[^\n|>]*(?=[|>])"), r"\1... "),
    (re.compile(r"(?i)(authorization[ \t]*:[ \t]*)[^'\"\n]*"), r"\1..."),
    (re.compile(rf"(?<![\w$-])([A-Za-z_]\w*\+?=){_WORD}"), r"\1..."),
    (re.compile(rf"(?i)({_CREDENTIAL})([ \t]*[:=][ \t]*|[ \t]+)(?!-){_WORD}"), r"\1\2..."),
    (re.compile(rf"(\blogin\b[^\n|;&]*[ \t]-p[ \t=]*){_WORD}"), r"\1..."),
    (re.compile(r"((?:^|\s)-[up][ \t]*)[^\s:;&|]*:\S+"), r"\1..."),
    (re.compile(r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-|AKIA|xox[a-z]-)[\w-]+"), "..."),
    # A long word of letters and digits that is no path.
    (re.compile(r"(?<![\w/.~$+=-])(?!/)(?=[\w+/=-]*[A-Za-z])(?=[\w+/=-]*\d)[\w+/=-]{20,}"), "..."),
)


def concealed(text: str) -> str:
    """Return shell text in which `...` is in place of values of assignments and of what looks like a credential."""
    for pattern, replacement in _CONCEALED:
        text = pattern.sub(replacement, text)
    return conceal(text)


def shown_options(slurm: SlurmConfig) -> SlurmConfig:
    """Return the options of jobs as they may be shown, by `setup` and `directives` of a user."""
    directives = tuple(map(concealed, slurm.directives))
    return slurm.model_copy(update={"setup": concealed(slurm.setup), "directives": directives})
