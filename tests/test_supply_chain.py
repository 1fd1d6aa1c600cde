"""What is installed is what is locked, under licences that were looked at, and told in a bill of materials."""

import json
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from . import licences, sbom

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "ci.txt"
FREE = {"torch", "auscult"}  # installed by the Makefile: torch differs by machine


def locked() -> dict[str, Version]:
    """Name -> version."""
    lines = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK.read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in lines}


def test_everything_in_the_lock_has_a_version_and_hashes() -> None:
    lines = LOCK.read_text().replace("\\\n", " ").splitlines()
    entries = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(entries) == len(locked()) > 100
    for entry in entries:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry), entry


def test_the_lock_is_that_of_the_project() -> None:
    """Every direct requirement of the development extra is there, in a version that it allows."""
    project = tomllib.loads(licences.PROJECT.read_text())["project"]
    extras, found = project["optional-dependencies"], locked()
    asked = [*project["dependencies"], *extras["dev"], *(text for e in licences.EXTRAS for text in extras[e])]
    for one in map(Requirement, asked):
        name = canonicalize_name(one.name)
        if name not in FREE:
            assert name in found and found[name] in one.specifier, f"{one}: run `make lock`"
    assert not FREE & set(found)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock is for Python 3.11")
def test_the_lock_needs_nothing_else() -> None:
    """`--no-deps` installs it: what the locked packages need of each other, as far as they are installed, is in it."""
    found = locked()
    for package in distributions():
        name = canonicalize_name(package.name)
        if name not in found or Version(package.version) != found[name]:
            continue
        for other, _ in licences.needed(package.requires or [], ""):
            assert other in found or other in FREE, f"{name} needs {other}"


def test_every_licence_was_looked_at() -> None:
    packages = licences.runtime()
    assert len(packages) > 40 and {"torch", "soundfile", "soxr", "fastapi"} <= {p.name for p in packages}
    strange = {p.name: licences.licence(p) for p in packages if licences.parts(licences.licence(p)) - licences.ALLOWED}
    assert not strange
    assert [p.name for p in packages if "GPL" in licences.licence(p)] == ["soxr"]


@pytest.mark.parametrize("told", ["GPL-3.0-or-later", "UNKNOWN", "AGPL-3.0-only OR MIT", "Proprietary, ask us"])
def test_other_licences_are_seen(told: str) -> None:
    assert licences.parts(told) - licences.ALLOWED


def test_a_bill_of_materials_leaves_the_tools_out() -> None:
    parts = [{"name": name, "bom-ref": name} for name in ("a", "b-b", "pytest")]
    needs = [{"ref": "root", "dependsOn": ["a", "pytest"]}, {"ref": "pytest", "dependsOn": ["a"]}, {"ref": "a"}]
    told = {"metadata": {"component": {"bom-ref": "root"}}, "components": parts, "dependencies": needs}
    kept = sbom.only(told, {"a", "b-b"})
    assert [one["name"] for one in kept["components"]] == ["a", "b-b"]
    assert kept["dependencies"] == [{"ref": "root", "dependsOn": ["a"]}, {"ref": "a"}]
    with pytest.raises(LookupError, match="c"):
        sbom.only(told, {"a", "c"})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bill_of_materials_is_of_what_runs_and_reproducible() -> None:
    pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom is not installed")
    made = sbom.sbom()
    names = {canonicalize_name(one["name"]) for one in made["components"]}
    assert names == {canonicalize_name(p.name) for p in licences.runtime()} and "pytest" not in names
    assert made["metadata"]["component"]["name"] == "auscult" and made == sbom.sbom()
    assert "serialNumber" not in made and "timestamp" not in made["metadata"]


class Advisories(BaseHTTPRequestHandler):
    """A stand-in of the advisory service: it has heard something of `idna` alone."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        place = {"package": asked["package"], "versions": [asked["version"]]}
        told = {"id": "MADE-UP-1", "summary": "made up", "details": "made up", "aliases": [], "affected": [place]}
        body = json.dumps({"vulns": [told]} if asked["package"]["name"] == "idna" else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("idna", 1), ("rich", 0)])
def test_an_advisory_fails_the_audit(name: str, code: int, tmp_path: Path) -> None:
    """The options are those of `make audit`; only the service is another."""
    pytest.importorskip("pip_audit", reason="pip-audit is not installed")
    options = re.search(r"pip-audit (--strict .*--require-hashes) --requirement", (ROOT / "Makefile").read_text())
    assert options is not None
    (tmp_path / "lock.txt").write_text(f"{name}==1.0 --hash=sha256:{'0' * 64}\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        words = [*options[1].split(), "-s", "osv", "--osv-url", f"http://127.0.0.1:{service.server_port}"]
        words += ["--requirement", str(tmp_path / "lock.txt")]
        done = subprocess.run([sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True)
        service.shutdown()
    assert done.returncode == code, done.stderr
    assert ("MADE-UP-1" in done.stdout) == bool(code)
