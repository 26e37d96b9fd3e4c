"""Safety of input from outside: no unpickling, remote code, unsafe YAML, shell, or unchecked unpacking."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LRPS = REPOSITORY / "lrps"
MODULES = sorted(path for folder in ("lrps", "tools") for path in (REPOSITORY / folder).rglob("*.py"))

MODULES_THAT_UNPICKLE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
NEVER_CALLED = {
    *("eval", "exec", "__import__"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("shutil.unpack_archive", "pandas.read_pickle", "torch.jit.load", "torch.hub.load"),
}
SENDS_PICKLES = {
    *("all_gather_object", "gather_object", "broadcast_object_list", "scatter_object_list"),
    *("send_object_list", "recv_object_list"),
}
NEVER_CALLED_ON_ANYTHING = {"extractall", "extract", "load_checkpoint", *SENDS_PICKLES}
"""Methods of archives, which must not choose where they write, of a DeepSpeed engine, whose files are pickles, and of
torch.distributed for objects, which another rank would unpickle."""
MUST_SAY = {"torch.load": ("weights_only", True), "from_pretrained": ("trust_remote_code", False)}
MUST_NOT_SAY = {"allow_pickle", "trust_remote_code", "shell"}
"""Keywords that must be False wherever they are given."""
ALLOWED = {"lrps/base/plugins/source.py": {"exec"}}
"""Module -> what it may do: a config is code of its owner, and names the plug-in files that are executed."""
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}


def violations(source: str) -> list[str]:
    """Return everything in a module that could execute its input, each as `line: what`."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    found = [
        f"{node.lineno}: {full}" for node in ast.walk(tree) if (full := _dotted(node, names)) and _is_forbidden(full)
    ]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        found += [f"{call.lineno}: {fault}" for fault in _faults(call, names)]
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        found += [f"{node.lineno}: {name}" for name in modules if name.split(".")[0] in MODULES_THAT_UNPICKLE]
    return found


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(name in the module, what it stands for)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """Return the full name of an expression, such as `numpy.load` for `np.load`; empty if it has none.

    An attribute of anything but a name is given without it, as `.load`.
    """
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return ""


def _is_forbidden(full: str) -> bool:
    """Return whether a name must not occur at all, even where it is passed on instead of called."""
    unsafe_yaml = full.startswith("yaml.") and "Loader" in full and full not in SAFE_LOADERS
    pickled = full.rpartition(".")[2] in SENDS_PICKLES
    return full in NEVER_CALLED or pickled or unsafe_yaml or full in {"yaml.unsafe_load", "yaml.full_load"}


def _faults(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    full, said = _dotted(call.func, names), {keyword.arg: keyword.value for keyword in call.keywords}
    last = full.rpartition(".")[2]
    if isinstance(call.func, ast.Attribute) and last in NEVER_CALLED_ON_ANYTHING:
        yield full
    for name, (keyword, value) in MUST_SAY.items():
        if name in (full, last) and not _is(said.get(keyword), value):
            yield f"{full} without {keyword}={value}"
    yield from (f"{full}({each}=...)" for each in MUST_NOT_SAY & said.keys() if not _is(said[each], False))
    if full.startswith("yaml.") and last in {"load", "load_all", "compose", "compose_all", "parse", "scan"}:
        loader = said.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or _dotted(loader, names) not in SAFE_LOADERS:
            yield f"{full} without a safe Loader"


def _is(node: ast.AST | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_came_from_outside_is_never_run(module: Path) -> None:
    allowed = ALLOWED.get(module.relative_to(REPOSITORY).as_posix(), set())
    assert [each for each in violations(module.read_text()) if each.partition(": ")[2] not in allowed] == []


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 90
    sources = {path.relative_to(REPOSITORY).as_posix(): path.read_text() for path in MODULES}
    assert "np.load(" in sources["lrps/data/build/part_file.py"]
    assert "yaml.compose(" in sources["lrps/config/loader.py"]
    assert ".from_pretrained(" in sources["lrps/engine/model.py"]
    assert "tools/corpus.py" in sources


MAY_PARSE_JSON = {
    "lrps/base/foreign_json.py": "the one reader, with limits of size and depth",
    "lrps/data/build/json_reader.py": "documents of training data, with limits and errors of their own",
    "lrps/ledger/records.py": "records whose form a pattern has checked before",
    "lrps/ledger/loss_curve.py": "numbers that a pattern has cut out",
}
"""Module -> why it may parse JSON by itself."""
PARSERS = {"json.load", "json.loads", "json.JSONDecoder", "pydantic_core.from_json"}


def parsers_in(source: str) -> set[str]:
    """Return the functions of a module that parse JSON, other than the reader of lrps."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    found = {_dotted(node, names) for node in ast.walk(tree)}
    return found & PARSERS | {name for name in found if name.endswith(".model_validate_json")}


def test_json_is_parsed_by_one_reader_with_limits() -> None:
    modules = {path.relative_to(REPOSITORY).as_posix(): path for path in MODULES if path.is_relative_to(LRPS)}
    assert {name for name, path in modules.items() if parsers_in(path.read_text())} == MAY_PARSE_JSON.keys()


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.loads(text)",
        "import json as j\nmap(j.load, files)",
        "from json import loads as read\nread(text)",
        "from pydantic_core import from_json\nfrom_json(text)",
        "Config.model_validate_json(text)",
    ],
)
def test_another_parser_is_found(source: str) -> None:
    assert len(parsers_in(source)) == 1


@pytest.mark.parametrize(
    ("file", "safe", "unsafe"),
    [
        ("lrps/data/build/part_file.py", "np.load(path)", "np.load(path, allow_pickle=True)"),
        ("lrps/data/build/part_file.py", "allow_pickle=False", "allow_pickle=self.trusted"),
        ("lrps/config/loader.py", "Loader=yaml.SafeLoader", "Loader=yaml.Loader"),
        ("lrps/engine/model.py", "trust_remote_code=False", "trust_remote_code=True"),
        ("lrps/engine/model_config.py", "local_files_only=True, trust_remote_code=False", "local_files_only=True"),
        ("lrps/launch/supervise.py", "start_new_session=True", "start_new_session=True, shell=True"),
    ],
)
def test_a_violation_in_the_real_code_is_caught(file: str, safe: str, unsafe: str) -> None:
    source = (REPOSITORY / file).read_text()
    assert safe in source
    assert violations(source) == []
    lines = {violation.partition(":")[0] for violation in violations(source.replace(safe, unsafe))}
    assert len(lines) == source.count(safe)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads as read",
        "import joblib.numpy_pickle",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "from torch import load\nload(path, weights_only=trusted)",
        "import numpy\nnumpy.lib.format.read_array(file, allow_pickle=True)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, yaml.FullLoader)",
        "from yaml import unsafe_load\nunsafe_load(text)",
        "from yaml import UnsafeLoader as SafeLoader, load\nload(text, Loader=SafeLoader)",
        "AutoTokenizer.from_pretrained(name)",
        "load_dataset(name, trust_remote_code=True)",
        "import os\nos.system(command)",
        "import tarfile\ntarfile.open(path).extractall(place)",
        "archive.extract(member)",
        "import shutil\nshutil.unpack_archive(path)",
        "engine.load_checkpoint(directory)",
        "import torch.distributed as dist\ndist.all_gather_object(values, value)",
        "from torch.distributed import broadcast_object_list as send\nsend([value])",
        "eval(text)",
        "map(exec, texts)",
    ],
)
def test_a_planted_violation_is_caught(source: str) -> None:
    assert len(violations(source)) >= 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path)",
        "import yaml\nyaml.safe_load(text)",
        "from yaml import SafeLoader, load\nload(text, SafeLoader)",
        "AutoModel.from_pretrained(path, trust_remote_code=False)",
        "model.eval()\nre.compile(text)\njson.load(file)",
        "tar.extractfile(member)",
        "load_checkpoint(engine, checkpoint)",
    ],
)
def test_what_is_safe_is_let_through(source: str) -> None:
    assert violations(source) == []
