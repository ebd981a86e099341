#!/usr/bin/env python3
"""Set up, try and test a fresh clone with nothing but Python 3.11+ and git.

    python3 dev.py demo                   a prompted segmentation, in a window or, without a display, as files
    python3 dev.py test                   all rungs of the tests
    python3 dev.py test unit -- -k box    one rung, with arguments for pytest
    python3 dev.py setup                  only make .venv

Everything is installed once, into `.venv` (activate it to work by hand); the rungs are in tox.ini.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOG = ROOT / ".tox" / "setup.log"
BIN = "Scripts" if os.name == "nt" else "bin"

OLDEST_PYTHON = (3, 11)
INSTALLED = (".[test,dev]", f"napari[{os.environ.get('NAPARI_MEDSAM_QT', 'pyqt6')}]")
"""The package, editable, with its tools; and napari with a Qt binding, which the package leaves to the user."""
RUNGS = ("lint", "unit", "golden", "gui")

SETUP_SECONDS = 3600
"""The wheels of torch with CUDA are several gigabytes; on a slow line they take their time."""
HEARTBEAT_SECONDS = 15
NETWORK_FAILURE = re.compile(
    r"ConnectionError|ConnectTimeout|NewConnectionError|ReadTimeout|Read timed out|ProtocolError|IncompleteRead"
    r"|Connection (broken|reset|aborted)|RemoteDisconnected|Temporary failure|Max retries|HTTP error (429|5\d\d)"
)

SCREEN = ("xvfb-run", "-a", "-s", "-screen 0 1600x1000x24")
DEBIAN_PACKAGES = (
    "xvfb",
    "xauth",
    "libegl1",
    "libdbus-1-3",
    "libfontconfig1",
    "libxkbcommon-x11-0",
    "libxcb-cursor0",
    "libxcb-icccm4",
    "libxcb-image0",
    "libxcb-keysyms1",
    "libxcb-render-util0",
    "libxcb-shape0",
    "libxcb-xkb1",
)
DEBIAN_GLIB = ("libglib2.0-0t64", "libglib2.0-0")
"""New name first: Debian 13 and Ubuntu 24.04 renamed it."""


say = functools.partial(print, flush=True)
"""Lines of programs that we start come in between."""


class SetupError(Exception):
    """Something is missing that the user has to provide; the message says how."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; 2 when something is missing."""
    if sys.version_info < OLDEST_PYTHON:
        print(f"Python {platform.python_version()} is too old; run this with Python 3.11 or newer.", file=sys.stderr)
        return 2
    own, extra = split(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(own, argparse.Namespace(extra=extra))
    try:
        return int(options.run(options))
    except SetupError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 2


def split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What stands before and after the first `--`."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(title="commands", metavar="{demo,test,setup}", required=True)

    demo = commands.add_parser("demo", help="show a prompted segmentation")
    demo.add_argument("--headless", action="store_true", help="write files even when there is a display")
    demo.add_argument("--output", type=Path, default=ROOT / "demo-output", help="where the files go without a display")
    demo.set_defaults(run=run_demo)

    test = commands.add_parser("test", help="run the tests")
    test.add_argument("rungs", nargs="*", metavar="rung", help=f"any of: {', '.join(RUNGS)} (default: all)")
    test.set_defaults(run=run_test)

    setup = commands.add_parser("setup", help="make or bring up to date .venv")
    setup.set_defaults(run=run_setup)

    within = commands.add_parser("exec")
    within.add_argument("--display", action="store_true")
    within.set_defaults(run=run_exec)
    return top


def run_demo(options: argparse.Namespace) -> int:
    """Open napari with the demo, or write its files where there is no display."""
    ensure_environment()
    command = [str(VENV / BIN / "napari-medsam"), "demo"]
    if has_display() and not options.headless:
        return subprocess.call([*command, "--window"])
    output = options.output.resolve()
    code = subprocess.call([*command, "--output", str(output)])
    for path in sorted(output.rglob("*")) if code == 0 else ():
        say(f"{path}  {path.stat().st_size:,} bytes")
    return code


def run_test(options: argparse.Namespace) -> int:
    """Run rungs of the tests through tox."""
    unknown = sorted(set(options.rungs) - set(RUNGS))
    if unknown:
        raise SetupError(f"there is no rung {', '.join(unknown)}; the rungs are: {', '.join(RUNGS)}.")
    rungs = options.rungs or RUNGS
    if "gui" in rungs:
        ensure_display_packages()
    ensure_environment()
    extra = ["--", *options.extra] if options.extra else []
    return subprocess.call([str(VENV / BIN / "python"), "-m", "tox", "run", "-e", ",".join(rungs), *extra], cwd=ROOT)


def run_setup(options: argparse.Namespace) -> int:
    """Make the environment, and nothing else."""
    ensure_environment()
    say(f"Ready: {VENV}")
    return 0


def run_exec(options: argparse.Namespace) -> int:
    """Run the command after `--` in .venv; with --display, under Xvfb where there is no display. tox calls this."""
    if not STAMP.path.is_file():
        ensure_environment()
    path = os.pathsep.join([str(VENV / BIN), os.environ.get("PATH", "")])
    screen = SCREEN if options.display and not has_display() else ()
    command = [*screen, *options.extra]
    program = shutil.which(command[0], path=path)
    if program is None:
        raise SetupError(f"there is no {command[0]}. Run `python3 dev.py test`, or install Xvfb if that is missing.")
    return subprocess.call([program, *command[1:]], env={**os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)})


def has_display() -> bool:
    """Whether a window can be opened."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


# ---- the environment


def ensure_environment() -> None:
    """Make .venv or bring it up to date, unless nothing that it depends on has changed."""
    if STAMP.stands():
        return
    if not STAMP.same_place_and_python():
        ensure_venv_module()
        shutil.rmtree(VENV, ignore_errors=True)
        install([sys.executable, "-m", "venv", str(VENV)])
    say("Installing napari-medsam, napari, torch and the test tools into .venv; this takes minutes the first time.")
    pip = [str(VENV / BIN / "python"), "-m", "pip", "install"]
    install([*pip, "--upgrade", "pip"])
    install([*pip, "--editable", *INSTALLED])
    STAMP.write()


class Stamp:
    """A file in .venv that says where it was made, by which Python and from what."""

    def __init__(self) -> None:
        self.path = VENV / "setup-stamp"

    def stands(self) -> bool:
        """Whether .venv is complete and up to date."""
        return self._read() == self._wanted()

    def same_place_and_python(self) -> bool:
        """Whether .venv is complete, for this Python, and not from before the checkout was moved or copied."""
        return self._read()[:2] == self._wanted()[:2]

    def write(self) -> None:
        """Declare .venv complete."""
        self.path.write_text("\n".join(self._wanted()), encoding="utf-8")

    def _read(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []

    def _wanted(self) -> list[str]:
        contents = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
        return [str(VENV), " ".join(sys.version.split()), *INSTALLED, contents]


STAMP = Stamp()


def install(command: Sequence[str]) -> None:
    """Run a command that may download, quietly, with its output in LOG; try again once when the network failed."""
    if run_quietly(command) == 0:
        return
    if NETWORK_FAILURE.search(LOG.read_text(encoding="utf-8", errors="replace")):
        say("  The network failed; trying once more.")
        if run_quietly(command) == 0:
            return
    tail = LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
    print("\n".join(tail), file=sys.stderr)
    raise SetupError(f"`{' '.join(command)}` failed; the whole output is in {LOG}.")


def run_quietly(command: Sequence[str]) -> int:
    """Run `command` with its output in LOG and a line now and then to say that it lives; return its exit code."""
    environment = {"PIP_DEFAULT_TIMEOUT": "60", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1", **os.environ}
    start = time.monotonic()
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while (spent := time.monotonic() - start) < SETUP_SECONDS:
                try:
                    return process.wait(timeout=HEARTBEAT_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"  {spent + HEARTBEAT_SECONDS:4.0f} s  {last_line()}")
        finally:
            process.terminate()
            process.wait()
    raise SetupError(f"setting up took more than {SETUP_SECONDS} s and was stopped; the output so far is in {LOG}.")


def last_line() -> str:
    """The end of LOG, cut to the width of a terminal."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return lines[-1].strip()[:100] if lines else ""


# ---- packages of the system


def ensure_venv_module() -> None:
    """Make `python -m venv` work: Debian ships it in a package of its own."""
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if shutil.which("apt-get") is None:
        raise SetupError("this Python has no `venv` module; install it, or use another Python.")
    apt_install([package])


def ensure_display_packages() -> None:
    """On Debian and its kin without a display, install a virtual one and what Qt needs to draw on it."""
    if has_display() or shutil.which("apt-get") is None or shutil.which("dpkg-query") is None:
        return
    missing = [package for package in DEBIAN_PACKAGES if not is_installed(package)]
    if not any(is_installed(package) for package in DEBIAN_GLIB):
        missing.append(DEBIAN_GLIB[0])
    if missing:
        apt_install(missing)


def is_installed(package: str) -> bool:
    """Whether dpkg has the package in working order."""
    query = ["dpkg-query", "-W", "-f=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def apt_install(packages: Sequence[str]) -> None:
    """Install packages as root; tell the user how when that is not possible."""
    root = root_prefix()
    if root is None:
        command = "sudo apt-get install --no-install-recommends " + " ".join(named_here(packages))
        raise SetupError(f"packages of the system are missing. Install them with:\n    {command}")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    run_quietly([*apt, "update"])  # one broken source is no reason to stop
    names = named_here(packages)
    say(f"Installing packages of the system: {' '.join(names)}")
    install([*apt, "install", "-y", "--no-install-recommends", *names])


def named_here(packages: Sequence[str]) -> list[str]:
    """The packages, GLib by the name that this release of Debian or Ubuntu gives it."""
    return [glib_name() if package in DEBIAN_GLIB else package for package in packages]


def root_prefix() -> list[str] | None:
    """What to put before a command to run it as root: nothing, sudo, or None when it cannot be."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ["sudo", "-n"]
    return None


def glib_name() -> str:
    """The name that this release of Debian or Ubuntu gives to GLib."""
    for name in DEBIAN_GLIB:
        found = subprocess.run(["apt-cache", "show", name], capture_output=True, check=False)
        if found.returncode == 0 and found.stdout:
            return name
    return DEBIAN_GLIB[-1]


if __name__ == "__main__":
    sys.exit(main())
