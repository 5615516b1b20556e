"""From words to values: tyro over frozen dataclasses, with plain one-line errors.

A verb's flags are the fields of a dataclass; those of a chosen model, head and task stand under their owner
(`--model.depth`). The flags of `train` depend on the names given, so names are read first, then all the rest.
"""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import tyro

from vitrail.errors import UsageError, nearest

Words = TypeVar("Words")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every verb takes."""

    json: bool = False
    """Print one JSON object on standard output; everything for people goes to standard error."""
    debug: bool = False
    """Show tracebacks."""


def parse(words: Words, argv: Sequence[str], *, verb: str, about: str, examples: str) -> Words:
    """Return ``words``, the defaults of a verb, with what ``argv`` says; ``--help`` prints and exits."""
    shown = presentable(words)
    reject_unknown(argv, shown, verb)
    output, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            parsed: Words = tyro.cli(
                type(shown),
                args=list(argv),
                default=shown,
                prog=f"vitrail {verb}",
                description=f"{about}\n\nExamples:\n"
                + "\n".join(f"  {line}" for line in examples.splitlines()),
            )
    except SystemExit as leaving:
        if not leaving.code:
            print(output.getvalue(), end="")  # noqa: T201
            raise
        raise UsageError(_first_line(errors.getvalue(), verb)) from None
    return parsed


HIDDEN = ("name", "family", "size", "patch", "environment")
"""Fields that words choose (`--model`, `--task`, `--head`) or that a run fills in: not flags of their own."""


def presentable(value: Any, hidden: Sequence[str] = HIDDEN) -> Any:
    """Return ``value`` as an instance of a subclass whose flags read well.

    Names (chosen by `--model`, `--task`, `--head`) are hidden, a field called ``where``, ``run`` or
    ``pictures`` is positional unless it is a number, and None is not offered as a word.
    """
    kind = type(value)
    hints = get_type_hints(kind, include_extras=True)
    changed: list[tuple[str, Any, Any]] = []
    given: dict[str, Any] = {}
    for part in fields(kind):
        current = getattr(value, part.name)
        if is_dataclass(current) and not isinstance(current, type):
            current = presentable(current, hidden)
            changed.append((part.name, type(current), field()))
        elif part.name in hidden:
            changed.append((part.name, Annotated[hints[part.name], tyro.conf.Suppress], field()))
        elif _positional(part.name, current):
            metavar = tyro.conf.arg(metavar=POSITIONAL[part.name])
            changed.append((part.name, Annotated[hints[part.name], tyro.conf.Positional, metavar], field()))
        elif type(None) in get_args(hints[part.name]):
            hint = "" if current is None else f"(default: {current})"
            arg = tyro.conf.arg(metavar=_metavar(hints[part.name]), help_behavior_hint=hint)
            changed.append((part.name, Annotated[hints[part.name], arg], field()))
        given[part.name] = current
    made = make_dataclass(kind.__name__, changed, bases=(kind,), frozen=True, kw_only=True)
    made.__doc__ = kind.__doc__
    return made(**given)


POSITIONAL = {
    "where": "DATA",
    "run": "RUN",
    "data": "DATA",
    "pictures": "PICTURES",
    "files": "PICTURES",
    "word": "WORD",
    "words": "DATA|RUN",
}


def _positional(name: str, value: Any) -> bool:
    return name in POSITIONAL and not isinstance(value, int)


def plain(value: Any) -> dict[str, Any]:
    """Return the flags of a nest of dataclasses by dotted name, with their values."""
    flat: dict[str, Any] = {}
    for part in fields(value):
        current = getattr(value, part.name)
        if is_dataclass(current) and not isinstance(current, type):
            flat |= {f"{part.name}.{name}": inner for name, inner in plain(current).items()}
        else:
            flat[part.name] = current
    return flat


def flags(words: Any, hidden: Sequence[str] = HIDDEN) -> list[str]:
    """Return the flags that a verb understands, as they are typed."""
    names = {name: name.split(".")[-1] for name in plain(words)}
    values = plain(words)
    known = [name for name, own in names.items() if own not in hidden and not _positional(own, values[name])]
    return sorted(f"--{name.replace('_', '-')}" for name in known)


def reject_unknown(argv: Sequence[str], words: Any, verb: str) -> None:
    """Stop at the first flag that does not exist, with the nearest that does."""
    known = {*flags(words), "--help"}
    known |= {_negated(flag) for flag in known}
    for word in argv:
        flag = word.split("=", 1)[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise UsageError(f"{flag}: unknown flag.{nearest(flag, known)} See vitrail {verb} --help")


def take(argv: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take ``--name value`` and ``--name=value`` out of the words; return what was taken, and the rest."""
    taken: dict[str, str] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and flag[2:] in names:
            if not equals:
                value = next(words, "")
            if not value or (not equals and value.startswith("--")):
                raise UsageError(f"{flag}: a value is missing.")
            taken[flag[2:]] = value
        else:
            rest.append(word)
    return taken, rest


def _negated(flag: str) -> str:
    owner, dot, name = flag.removeprefix("--").rpartition(".")
    return f"--{owner}{dot}no-{name}"


def _metavar(hint: Any) -> str:
    kind = next(arg for arg in get_args(hint) if arg is not type(None))
    choices = get_args(kind) if getattr(kind, "__origin__", None) is Literal else ()
    if choices:
        return "|".join(map(str, choices))
    if getattr(kind, "__origin__", None) is tuple:
        return f"{get_args(kind)[0].__name__.upper()} ..."
    return str(getattr(kind, "__name__", kind)).upper()


def _first_line(boxed: str, verb: str) -> str:
    """Return tyro's message in a box as one plain line, a wrong choice with the right ones."""
    lines = [re.sub(r"[│╭╮╰╯─]+|^[+|]|[+|]$|-{3,}", " ", line).strip() for line in boxed.splitlines()]
    titles = {"Required options", "Missing options", "Missing argument", "Value error", "Parsing error"}
    titles |= {"Invalid choice", "Unrecognized options"}
    lines = [line for line in lines if line.strip(" +|-") and line.strip(" +|-") not in titles]
    if lines and lines[0].startswith("Missing from"):
        missing = next((line for line in lines[1:] if line.isupper() or line.startswith("--")), "a word")
        return f"{missing.split()[0]} is missing. See vitrail {verb} --help"
    upto = next(
        (i for i, line in enumerate(lines) if re.match(r"Got errors|Argument helptext|For full", line)), 3
    )
    said = " ".join(lines[:upto])
    if wrong := re.match(r"invalid choice '(.*)' for argument '(--\S+)'. Expected one of \((.*)\)", said):
        word, flag, listed = wrong.groups()
        # A long list is broken into lines, perhaps at a hyphen; None is what a flag is without being given.
        choices = [re.sub(r"\s", "", each) for each in re.findall(r"'([^']*)'", listed)]
        known = sorted(each for each in choices if each != "None")
        said = f"{flag} {word}: not one of {', '.join(known)}.{nearest(word, known)}"
    elif bare := re.match(r"Missing value for argument '(--\S+)'", said):
        said = f"{bare[1]}: a value is missing."
    return f"{said} See vitrail {verb} --help"
