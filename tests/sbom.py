"""The bill of materials of what auscult needs at run time, CycloneDX JSON; one environment always gives the same bytes.

python -m tests.sbom --out build/auscult.cdx.json
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from auscult.version import __version__

from .licences import PROJECT, runtime

COMMAND = ("-m", "cyclonedx_py", "environment", "--pyproject", str(PROJECT), "--mc-type", "library")


def sbom() -> dict[str, Any]:
    """The document: auscult, its requirements and those of its extras, and which needs which.

    Raises:
        subprocess.CalledProcessError: when cyclonedx-bom, which looks at the environment, is not installed.
    """
    words = [sys.executable, *COMMAND, "--output-reproducible", "--of", "JSON", sys.executable]
    told = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    told["metadata"]["component"]["version"] = __version__
    return only(told, {canonicalize_name(package.name) for package in runtime()})


def only(told: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """A document with these components only; the tools around them in the environment are left out."""
    kept = [one for one in told["components"] if canonicalize_name(one["name"]) in names]
    missing = names - {canonicalize_name(one["name"]) for one in kept}
    if missing:
        raise LookupError(f"the environment does not tell of {', '.join(sorted(missing))}")
    root = told["metadata"]["component"]["bom-ref"]
    known = {one["bom-ref"] for one in kept} | {root}
    needs = [one for one in told.get("dependencies", []) if one["ref"] in known]
    for one in needs:
        if "dependsOn" in one:
            one["dependsOn"] = [ref for ref in one["dependsOn"] if ref in known]
    return told | {"components": kept, "dependencies": needs}


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sbom")
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    made = sbom()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{out}: {len(made['components'])} components, CycloneDX {made['specVersion']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
