"""The machine: Python and its packages, Java and Maven for a local broker, files and memory."""

from __future__ import annotations

import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pctstream import jars
from pctstream.config import Config
from pctstream.doctor.finding import Finding, fail, ok, warn

JAVA_LEAST = 17
JAVA_S = 20.0
LOCK = Path(__file__).parents[2] / "requirements.lock"
"""Of a checkout; an installed package has none and goes by its own requirements."""
TABLE_FILES = 3 * 64
"""Open files of a shard's three Faust tables (app.TABLE_MEMORY)."""
STORE_FILES = 256
"""Open files of a shard's store (store.RocksKV)."""
OTHER_FILES = 256
"""Sockets, libraries, logs."""
WORKER_BYTES = 400 << 20
"""Of a worker without its caches: code, buffers of Kafka's clients, rows in flight."""
BROKER_BYTES = 768 << 20
"""Of a local broker: a heap of 512 MiB and what a JVM needs besides."""


def python() -> Finding:
    """Whether this Python is one that the package is for."""
    here = platform.python_version()
    wanted = metadata.metadata("pctstream")["Requires-Python"]
    if here not in SpecifierSet(wanted, prereleases=True):
        return fail("python", f"{here}, needed is {wanted}", "make the .venv with another Python")
    return ok("python", f"{here} ({sys.executable})")


def packages() -> Finding:
    """Installed against needed, and against the lock where there is one."""
    needed = [Requirement(line) for line in metadata.requires("pctstream") or ()]
    missing = unmet(r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""}))
    again = "run `make setup`, or `pip install --upgrade pctstream`"
    if missing:
        return fail("packages", f"not as needed: {listed(missing)}", again)
    if not LOCK.exists():
        return ok("packages", f"{len(needed)} requirements met (no lock file here)")
    pins = [
        Requirement(line.rstrip(" \\"))
        for line in LOCK.read_text(encoding="utf-8").splitlines()
        if line[:1].isalnum()  # neither a comment nor a hash
    ]
    present = [pin for pin in pins if installed(pin.name) and wanted_here(pin)]
    if differing := unmet(present):
        return warn("packages", f"not as locked: {listed(differing)}", "run `make setup`")
    return ok("packages", f"{len(present)} installed, all as locked")


def wanted_here(requirement: Requirement) -> bool:
    """Whether its marker holds on this Python and system."""
    return requirement.marker is None or requirement.marker.evaluate()


def installed(name: str) -> str | None:
    """The version of a package; None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def unmet(requirements: Iterable[Requirement]) -> list[str]:
    """Of those that are not met, what is there and what is needed.

    >>> unmet([Requirement("packaging>=1"), Requirement("no-such-package==1")])
    ['no-such-package is missing (needed ==1)']
    """
    out = []
    for wanted in requirements:
        found = installed(wanted.name)
        if found is None:
            out.append(f"{wanted.name} is missing (needed {wanted.specifier})")
        elif not wanted.specifier.contains(found, prereleases=True):
            out.append(f"{wanted.name} {found} (needed {wanted.specifier})")
    return out


def listed(said: list[str]) -> str:
    """The first three, and how many more."""
    return ", ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "")


def java(needed: bool) -> Finding:
    """Java for a local broker; where a broker is named, none is needed."""
    fix = f"run `{jars.INSTALL}`, or name a running Kafka with PCT_BROKER=host:port"
    said = "not found"
    if shutil.which("java"):
        version = java_version(_java_says())
        if version is not None and version >= JAVA_LEAST:
            return ok("java", f"Java {version}")
        said = f"Java {version}, too old" if version else "does not run"
    if needed:
        return fail("java", f"{said}; the local broker needs Java {JAVA_LEAST}", fix)
    return ok("java", f"{said}; only a local broker needs it (`{jars.INSTALL}`), one is named")


def _java_says() -> str:
    try:
        asked = subprocess.run(
            ["java", "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=JAVA_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if asked.returncode else asked.stderr + asked.stdout


def java_version(said: str) -> int | None:
    """The feature release in what `java -version` says.

    >>> java_version('openjdk version "17.0.9" 2023-10-17'), java_version('java version "1.8.0_392"')
    (17, 8)
    """
    found = re.search(r'version "(\d+)(?:\.(\d+))?', said)
    if not found:
        return None
    first, second = int(found[1]), int(found[2] or 0)
    return second if first == 1 and second else first


def maven(needed: bool) -> Finding:
    """Maven, which fetches the broker's jars once."""
    if shutil.which("mvn"):
        return ok("maven", f"{shutil.which('mvn')}")
    if jars.present():
        return ok("maven", f"not found; only fetching the jars needs it (`{jars.INSTALL}`), they "
                           "are there")  # fmt: skip
    if not needed:
        return ok(
            "maven", f"not found; only a local broker needs it (`{jars.INSTALL}`), one is named"
        )
    fix = f"run `{jars.INSTALL}`, or name a running Kafka with PCT_BROKER=host:port"
    return fail("maven", "not found; the broker's jars are fetched with it", fix)


def broker_jars(needed: bool) -> Finding:
    """The jars of the local broker."""
    folder = jars.jars_dir()
    if jars.present():
        return ok("jars", f"Kafka {jars.KAFKA} in {folder}")
    if not needed:
        return ok("jars", f"none in {folder}; only a local broker needs them, one is named")
    return warn("jars", f"Kafka {jars.KAFKA} is not in {folder}",
                "`pctstream broker --fetch` gets 44 MB; `up` does it too")  # fmt: skip


def open_files(cfg: Config) -> Finding:
    """The limit of open files against what one worker may open that hosts every shard."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = cfg.shards.count * (TABLE_FILES + STORE_FILES) + OTHER_FILES
    said = f"{soft:,} open files allowed, a worker with all {cfg.shards.count} shards may open {need:,}"
    if soft == resource.RLIM_INFINITY or soft >= need:
        return ok("files", said)
    if hard == resource.RLIM_INFINITY or hard >= need:
        return warn("files", said, f"run `ulimit -n {need}` before starting")
    return warn("files", said, f"raise nofile to {need} in /etc/security/limits.conf or the unit")


def memory(cfg: Config, workers: int, local: bool, running: bool) -> Finding:
    """What is available against what the workers and a local broker will take."""
    need = workers * (WORKER_BYTES + cfg.store.cache_bytes) + (BROKER_BYTES if local else 0)
    available = _available()
    if available is None:
        return ok("memory", f"not known here; {workers} workers take up to {mib(need)}")
    if running:
        return ok("memory", f"{mib(available)} available beside the running workers")
    what = f"{workers} workers" + (" and the broker" if local else "")
    said = f"{mib(available)} available, {what} take up to {mib(need)}"
    if available >= need:
        return ok("memory", said)
    return warn("memory", said, "lower store.cache_bytes, or start fewer with --workers")


def _available() -> int | None:
    """Bytes that programs can still get (Linux)."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else None


def mib(count: int) -> str:
    """
    >>> mib(600 << 20)
    '600 MiB'
    """
    return f"{count / (1 << 20):,.0f} MiB"
