"""What all rungs share. It imports neither napari nor Qt, so that the unit rung stays bare."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell; some tests interrupt a run
    signal.signal(signal.SIGINT, signal.default_int_handler)

SCREEN = ("-screen", "0", "1600x1000x24", "-nolisten", "tcp")
_screen = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--must-run", action="store_true", help="fail when every test was skipped, as when none was found")
    parser.addoption("--own-screens", action="store_true", help="with -n auto: each process gets a virtual screen")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process where they would share a screen: two viewers on one get each other's pointer events."""
    if shutil.which("Xvfb") is None:
        return 0
    config.option.dist = "loadfile"
    return 2


def pytest_configure(config: pytest.Config) -> None:
    """Give a worker that opens windows a screen of its own."""
    if config.getoption("--own-screens") and hasattr(config, "workerinput"):
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), *SCREEN]
        config.stash[_screen] = subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL)
        os.close(writing)
        with os.fdopen(reading) as number:
            os.environ["DISPLAY"] = f":{number.readline().strip()}"
        os.environ.pop("WAYLAND_DISPLAY", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Give a test that is for a GPU one that is not there, where there is none."""
    if item.get_closest_marker("gpu") is None:
        return (yield)
    import torch

    from tests.far import far_device

    with nullcontext() if torch.cuda.is_available() else far_device():
        return (yield)


def pytest_unconfigure(config: pytest.Config) -> None:
    screen = config.stash.get(_screen, None)
    if screen is not None:
        screen.terminate()
        screen.wait()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn "all skipped" into the exit status of "no tests ran", when --must-run is given."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != pytest.ExitCode.OK or not session.config.getoption("--must-run"):
        return
    if not any(reporter.stats.get(outcome) for outcome in ("passed", "failed", "xfailed", "xpassed")):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own weights, answers and caches out of the tests, and the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        patch.delenv("NAPARI_MEDSAM_WEIGHTS", raising=False)
        patch.delenv("NAPARI_MEDSAM_CACHE", raising=False)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test data: NAPARI_MEDSAM_SHARED, or `shared` beside the checkout."""
    named = os.environ.get("NAPARI_MEDSAM_SHARED")
    path = Path(named) if named else ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"no shared test data at {path}; set NAPARI_MEDSAM_SHARED to where it is")
    return path
