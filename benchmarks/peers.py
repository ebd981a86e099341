"""The environment with what a user would install instead, made by plain pip in the user's cache.

A package that cannot be installed costs its own rows of the tables and nothing else: they say why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import platformdirs

BASE = ("numpy", "psutil", "torch", "torchvision")
"""Every peer needs these."""

NEEDS = {
    "segment-anything": ("segment-anything",),
    "transformers-sam": ("transformers",),
    "transformers-sam2": ("transformers",),
    "mobile-sam": ("timm", "mobilesam-lite"),
    "litemedsam": ("timm", "mobilesam-lite"),
}
"""Beside the base, by the kind of worker."""

OF_THEIR_OWN = {"mobilesam-lite": "0.1.2"}
"""Packages that are not here. This one holds the `mobile_sam` of github.com/ChaoningZhang/MobileSAM at 34bbbfd, whose
modules are the same byte for byte, and can be had where only the package registry can."""

ALONE = ("mobilesam-lite",)
"""Installed without what they ask for besides: that is for what is not run here, and may want other versions."""

ASK = "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"
INSTALL_SECONDS = 3600


@dataclass(frozen=True)
class Peers:
    """Where peers run, and which cannot.

    Parameters
    ----------
    python : str
        Of their environment.
    versions : dict
        What is installed there, by package.
    missing : dict
        Why a package is not there, in words, by package.
    """

    python: str
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def why_not(self, kind: str) -> str:
        """Why a kind of worker cannot be had; empty where it can."""
        return next((self.missing[name] for name in (*BASE, *NEEDS[kind]) if name in self.missing), "")


def installed(folder: Path | None = None) -> Peers:
    """The environment with all that could be installed; made when it is not there, else only what lacks is added."""
    folder = folder or platformdirs.user_cache_path("napari-medsam", appauthor=False) / "peers"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    here = present(python)
    if here is None:
        print(f"making an environment for the peers in {folder}", file=sys.stderr, flush=True)
        try:
            venv.create(folder, with_pip=True, clear=True)
        except (OSError, subprocess.SubprocessError) as error:
            return Peers("", {}, {BASE[0]: f"no environment could be made for the peers: {error}"})
    missing = add(here or {}, lambda *words: pip(python, *words))
    names = {name for needs in NEEDS.values() for name in (*BASE, *needs)}
    return Peers(str(python), {n: v for n, v in (present(python) or {}).items() if n in names}, missing)


def present(python: Path) -> dict[str, str] | None:
    """Versions by package of an environment; None where there is none that works."""
    try:
        told = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True).stdout
        found = {name.lower().replace("_", "-"): one for name, one in json.loads(told).items()}
    except (OSError, subprocess.CalledProcessError, json.JSONDecodeError):
        return None
    return found


def add(here: dict[str, str], install: Callable[..., str]) -> dict[str, str]:
    """Install what is not `here` in the version that ours runs with; why not, by package.

    Parameters
    ----------
    here : dict
        Versions by package.
    install : callable
        Takes pip's arguments; gives why it failed, or nothing.
    """
    missing: dict[str, str] = {}
    for name in dict.fromkeys((*BASE, *(name for needs in NEEDS.values() for name in needs))):
        wanted = OF_THEIR_OWN.get(name) or public(version(name))
        if public(here.get(name, "")) == wanted:
            continue
        print(f"installing {name} {wanted} for the peers", file=sys.stderr, flush=True)
        why = install(*(["--no-deps"] if name in ALONE else []), f"{name}=={wanted}")
        if why:
            missing[name] = f"{name} {wanted} could not be installed: {why}"
        if why and name in BASE:
            break  # the others are of no use without it, and pip may take minutes to find out
    return missing


def public(version: str) -> str:
    """A version without what says how it was built, as "+cpu"."""
    return version.partition("+")[0]


def pip(python: Path, *words: str) -> str:
    """Install something; why it failed, or nothing."""
    command = [str(python), "-m", "pip", "install", "--quiet", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"pip took more than {INSTALL_SECONDS} s"
    said = done.stderr.strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    return "" if done.returncode == 0 else (errors or said or [f"pip ended with {done.returncode}"])[-1]
