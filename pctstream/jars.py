"""Apache Kafka's jars for the local broker, fetched with Maven: `python -m pctstream.jars`.

pom.xml beside this file pins the versions. The jars lie in a cache that all projects of a user
share, or where PCT_JARS says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pctstream.errors import JarsMissing

KAFKA = "4.3.1"
INSTALL = "sudo apt-get install -y openjdk-17-jre-headless maven"


def jars_dir() -> Path:
    """Where the broker's jars are or will be: PCT_JARS, else the user's cache."""
    given = os.environ.get("PCT_JARS")
    return Path(given) if given else Path.home() / ".cache" / "pctstream" / f"kafka-{KAFKA}"


def present() -> bool:
    """Whether the jars are there already."""
    return _complete(jars_dir())


def fetch_jars() -> Path:
    """Fetch the jars with Maven unless they are there; gives their directory.

    Raises JarsMissing if Java or Maven is absent or Maven fails. The directory appears whole or not
    at all, so that two set-ups at once do no harm.
    """
    target = jars_dir()
    whole = _complete(target)
    if not shutil.which("java") or not (whole or shutil.which("mvn")):
        raise JarsMissing(
            f"the local broker needs Java 17 and Maven: run `{INSTALL}`, or name a running Kafka"
            " with PCT_BROKER=host:port"
        )
    if not whole:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            _copy_dependencies(fresh)
            if not _complete(target):
                shutil.rmtree(target, ignore_errors=True)
                fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return target


def _copy_dependencies(folder: Path) -> None:
    pom = Path(__file__).with_name("pom.xml")
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={folder.absolute()}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not _complete(folder):
        said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        first = next((line for line in said if "ERROR" in line), said[-1])
        raise JarsMissing(
            f"Maven could not fetch Kafka {KAFKA}: {first.removeprefix('[ERROR]').strip()[:500]}; is"
            " the net there?"
        )


def _complete(folder: Path) -> bool:
    return all(any(folder.glob(jar)) for jar in (f"kafka_2.13-{KAFKA}.jar", "log4j-slf4j-*.jar"))


if __name__ == "__main__":
    try:
        print(f"Kafka {KAFKA}: {fetch_jars()}")
    except JarsMissing as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
