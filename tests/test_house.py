"""The rules of the house that no linter knows. `scripts/check` holds the others."""

import ast
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src" / "vitrail").rglob("*.py"))
REGISTRIES = {"BACKBONES", "EXPLAINERS", "HEADS", "METRICS", "MODELS", "READERS", "TASKS", "VERBS"}

# The front door. It changes deliberately: here, in the changelog and in docs/reference/python.md.
FRONT_DOOR = [
    "Estimate",
    "Label",
    "Predictor",
    "Recipe",
    "UsageError",
    "VitrailError",
    "__version__",
    "compare",
    "evaluate",
    "load",
    "train",
]


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def here(path):
    return str(path.relative_to(ROOT))


def run(code):
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked():
    """Return every file that git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_a_file_is_read_in_one_sitting():
    lengths = {here(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > 300} == {}


def test_the_front_door():
    import vitrail

    assert sorted(vitrail.__all__) == FRONT_DOOR
    for name in vitrail.__all__:
        assert getattr(vitrail, name) is not None
    assert set(vitrail.__all__) <= set(dir(vitrail)), "dir() shows what the door offers"
    assert importlib.import_module("vitrail._version").__version__ == vitrail.__version__


def test_the_changelog_knows_the_version():
    import vitrail

    assert f"## [{vitrail.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_importing_vitrail_imports_nothing_heavy():
    heavy = "{'torch', 'torchvision', 'timm', 'sklearn', 'scipy', 'matplotlib', 'pyarrow', 'tyro', 'rich'}"
    assert run(f"import sys, vitrail; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"], []], ids=" ".join)
def test_the_first_words_are_answered_lightly(words):
    out = run(
        "import sys\n"
        "from vitrail.cli import main\n"
        "try:\n"
        f"    status = main({words})\n"
        "except SystemExit as left:\n"
        "    status = left.code\n"
        f"assert status in ({'0, None' if words else '0, 2, None'}), status\n"
        "heavy = {'torch', 'tyro', 'PIL', 'rich', 'msgspec', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    if "--help" in words:
        for verb in ("demo", "train", "evaluate", "predict", "models", "show"):
            assert re.search(rf"\b{verb}\b", out), f"--help does not name {verb}"


def test_no_pickle_is_read_or_written():
    """Except by the converter, which lets torch build tensors out of one and run nothing."""
    unsafe = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "copyreg"}
    found, guarded = [], []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and "weights_only=True" in map(ast.unparse, node.keywords):
                guarded.append(node.func)
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").split(".")[0], *(alias.name for alias in node.names)]
            found += [f"{here(path)}:{node.lineno}: {name}" for name in unsafe.intersection(names)]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                call = f"{node.value.id}.{node.attr}"
                if call in {"torch.load", "torch.save", "pd.read_pickle"} and node not in guarded:
                    found.append(f"{here(path)}:{node.lineno}: {call}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                found.append(f"{here(path)}:{node.lineno}: allow_pickle")
    assert found == []
    assert [ast.unparse(call) for call in guarded] == ["torch.load"]


def test_registries_are_plain_dicts():
    """One can grep for what there is: a literal beside what it lists, which nothing adds to later."""
    found = []
    for path in SOURCES:
        for node in tree(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = {target.id for target in targets if isinstance(target, ast.Name)} & REGISTRIES
            if names and not isinstance(node.value, ast.Dict):
                found.append(f"{here(path)}:{node.lineno}: {names} is not a dict literal")
        for node in ast.walk(tree(path)):
            changed = node.value if isinstance(node, ast.Subscript | ast.Attribute) else None
            name = changed.id if isinstance(changed, ast.Name) else getattr(changed, "attr", None)
            adds = isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) or (
                isinstance(node, ast.Attribute) and node.attr in {"update", "setdefault", "pop", "clear"}
            )
            if name in REGISTRIES and adds:
                found.append(f"{here(path)}:{node.lineno}: {name} is changed")
    assert found == []


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [
        line for name, part in extras.items() if name != "dev" for line in part
    ]
    declared = {canonicalize_name(Requirement(line).name) for line in lines} | {"vitrail"}
    owners = importlib.metadata.packages_distributions()
    found = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                packages = {canonicalize_name(owner) for owner in owners.get(name, [name])}
                if not packages & declared:
                    found.append(f"{here(path)}:{node.lineno}: {name}")
    assert found == []


def test_no_host_of_a_registry_and_no_home_of_anybody():
    # Written in pieces, so that this file does not name what it looks for.
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("debian", "org"),
             ("download.pytorch", "org"), ("crates", "io"), ("anaconda", "org")]  # fmt: skip
    hosts = [re.escape(".".join(pair)) for pair in hosts]
    homes = ["/" + "home/", "/" + "Users/", "/" + "root/"]
    banned = re.compile(
        "|".join([*(rf"(?<![\w-]){host}\b" for host in hosts), *(rf"(?<![\w.~]){h}" for h in homes)])
    )
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := banned.search(line):
                found.append(f"{here(path)}:{number}: {match[0]}")
    assert found == []


def test_no_lock_file_is_tracked():
    locks = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "pylock.toml"}
    assert [here(path) for path in tracked() if path.name in locks] == []


def test_recipes_are_json_objects_that_say_what_they_are():
    for path in sorted((ROOT / "recipes").glob("*.json")):
        recipe = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(recipe, dict), path.name
        assert recipe, path.name


@pytest.mark.parametrize(
    ("words", "fine"),
    [
        ("MIT", True),
        ("Apache-2.0 AND (BSD-3-Clause OR GPL-2.0-only)", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("GPL-3.0-or-later WITH GCC-exception-3.1 AND MIT", True),
        ("GPL-3.0-or-later", False),
        ("MIT AND AGPL-3.0-only", False),
        ("CC-BY-NC-4.0", False),
        ("not stated", False),
    ],
)
def test_licences_are_read(words, fine):
    specification = importlib.util.spec_from_file_location("licences", ROOT / "scripts" / "licences.py")
    licences = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(licences)
    assert licences.allowed(words) is fine


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md"])
def test_links_of_the_front_pages_lead_somewhere(name):
    """The builder of the documentation checks links between its pages, but not those to pictures."""
    page = ROOT / name
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_one_screen():
    for name in ("README.md", "CONTRIBUTING.md"):
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 60, name


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("evaluate", "EvaluateWords"),
        ("explain", "ExplainWords"),
        ("models", "ModelsWords"),
        ("predict", "PredictWords"),
        ("show", "ShowWords"),
        ("demo", "DemoWords"),
        ("train", "Names"),
    ],
)
def test_every_flag_is_documented(verb, words):
    """The flags of `train` that are keys of the recipe are documented there, from the code."""
    from vitrail.cli.parse import flags

    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    general, *sections = re.split(r"^## `vitrail ", page, flags=re.MULTILINE)
    section = next(section for section in sections if section.startswith(verb))
    known = flags(getattr(importlib.import_module(f"vitrail.cli.{verb}"), words)())
    assert [flag for flag in known if f"`{flag}" not in general + section] == []
