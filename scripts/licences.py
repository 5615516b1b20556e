"""Checks the licence of every package that any extra of Vitrail installs.

Usage: python scripts/licences.py [--list]

Walks the requirements of ``vitrail[all,dev]`` over the installed packages. A licence is read from the
package's own metadata: the SPDX expression, else the classifiers, else the free text. Whatever is not on the
list of allowed licences must be on the list of packages that somebody has read, or the check fails.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# In lower case and without brackets: SPDX identifiers, then the words of classifiers and of free text.
ALLOWED = {
    *("0bsd", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc0-1.0", "isc", "mit", "mit-0"),
    *("mit-cmu", "mpl-2.0", "psf-2.0", "python-2.0", "unlicense", "zlib", "licenseref-nvidia-proprietary"),
    *("apache-2.0 with llvm-exception", "gpl-3.0-or-later with gcc-exception-3.1"),
    *("apache license 2.0", "apache software license", "apache 2.0", "apache 2.0 license"),
    *("isc license iscl", "cnri-python"),
    *("bsd", "bsd license", "bsd 2-clause license", "bsd 3-clause license", "mit license", "mit licence"),
    *("mozilla public license 2.0 mpl 2.0", "python software foundation license", "the unlicense unlicense"),
    "nvidia proprietary software",
}

# Packages whose metadata say nothing that a program understands, and what their files say.
READ = {
    "cuda-toolkit": "requirements without content of their own, of NVIDIA's redistributables",
}

# Classifiers under the heading "License" which name none.
NOT_LICENCES = {"OSI Approved", "DFSG approved"}


def installed(requirement: str) -> dict[str, Distribution]:
    """Return every package that ``requirement`` needs on this machine, itself included, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(requirement)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} - {extra for seen_name, extra in seen if seen_name == name}:
            seen.add((name, extra))
            found[name] = distribution(name)
            needed = map(Requirement, found[name].requires or [])
            waiting += [each for each in needed if not each.marker or each.marker.evaluate({"extra": extra})]
    return found


def licence(package: Distribution) -> str:
    """Return what the package's metadata say about its licence, on one line."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [line.split(" :: ") for line in metadata.get_all("Classifier") or []]
    named = [words[-1] for words in classifiers if words[0] == "License" and words[-1] not in NOT_LICENCES]
    if named:
        return " AND ".join(named)
    return " ".join((metadata.get("License") or "not stated").split())[:100]


def allowed(words: str) -> bool:
    """Tell whether every clause of a licence expression offers an allowed alternative."""
    clauses = re.split(r" and ", re.sub(r"[()]", "", words.lower()))
    return all(any(term.strip() in ALLOWED for term in re.split(r" or ", clause)) for clause in clauses)


def main() -> int:
    try:
        packages = installed("vitrail[all,dev]")
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed, so its licence cannot be read: run `make setup`")
        return 1
    doubtful = 0
    for name, package in sorted(packages.items()):
        words = READ.get(name) or licence(package)
        if "--list" in sys.argv:
            print(f"{name} {package.version}: {words}")
        if name not in READ and not allowed(words):
            print(f"{name} {package.version}: {words}. Read its licence, then add to a list in {__file__}")
            doubtful += 1
    print(f"{len(packages)} packages, {doubtful} with a licence in doubt")
    return int(doubtful > 0)


if __name__ == "__main__":
    sys.exit(main())
