"""
Writes the bill of materials (CycloneDX, JSON) of all that the lock files name.

    python -m supply.sbom [FILE]      to standard output, or into FILE

The same files give the same bytes. Licences are those that the packages of this environment declare.
"""

import argparse
import sys
import tomllib

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from supply.images import ROOT
from supply.parts import Need, Part, all_parts

_SCOPES: Final = {
    Need.ALWAYS: ComponentScope.REQUIRED,
    Need.IF_CONFIGURED: ComponentScope.OPTIONAL,
    Need.FOR_TESTS: ComponentScope.EXCLUDED,
}
# Packages that say it in a file alone. This one is MIT, and carries axe-core, which is MPL-2.0.
_SAID_IN_A_FILE: Final = {"axe-playwright-python": "MIT AND MPL-2.0"}
# Longer ones are the licence's text.
_LONGEST_NAME: Final = 80


def bill_of_materials(root: Path, licence_of: Callable[[str, str], str | None]) -> str:
    """
    Return the bill of a checkout.

    Args:
        root: The checkout.
        licence_of: Gives the licence of a Python package of that name and version, if it is known.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    bom = Bom(components=[_component(part, licence_of) for part in all_parts(root)])
    bom.metadata.component = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=project["name"],
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )
    # The lock files name each of them, whatever else needs it.
    bom.register_dependency(bom.metadata.component, bom.components)
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the same files give the same bytes
    # Its number is that of its content. One made by chance would be another one each time.
    bom.serial_number = uuid5(NAMESPACE_URL, "")
    bom.serial_number = uuid5(NAMESPACE_URL, JsonV1Dot6(bom).output_as_string())
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(part: Part, licence_of: Callable[[str, str], str | None]) -> Component:
    qualifiers = {"repository_url": part.registry} if part.registry else {}
    url = PackageURL(part.kind, part.group or None, part.name, part.version, qualifiers)
    licence = licence_of(part.name, part.version) if part.kind == "pypi" else None
    return Component(
        name=part.name,
        group=part.group or None,
        version=part.version,
        type=ComponentType.CONTAINER if part.kind == "docker" else ComponentType.LIBRARY,
        scope=_SCOPES[part.need],
        purl=url,
        bom_ref=url.to_string(),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in part.sha256],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        properties=[Property(name="go:sum", value=part.go_sum)] if part.go_sum else [],
    )


def declared_licence(name: str, version: str) -> str | None:
    """Return the licence that the installed package declares; None if it or this version of it is not installed."""
    try:
        package = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if package["Version"] != version:
        return None
    classified = [
        line.rpartition(" :: ")[2]
        for line in package.get_all("Classifier", [])
        if line.startswith("License :: OSI Approved ::")
    ]
    written = (package["License"] or "").strip()
    short = written if len(written) <= _LONGEST_NAME and "\n" not in written else ""
    declared = package["License-Expression"] or short or " AND ".join(classified)
    return declared or _SAID_IN_A_FILE.get(name)


def main(arguments: list[str]) -> int:
    """Write the bill; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m supply.sbom", description=__doc__.strip().splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="the file to write")
    file = parser.parse_args(arguments).file
    bill = bill_of_materials(ROOT, declared_licence)
    if file:
        file.write_text(bill)
    else:
        sys.stdout.write(bill)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
