"""Fetching against a server on the loopback that truncates, stalls, lies and forgets. Nothing leaves the machine."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from tests.unit.models.loopback import Content, Loopback, page, redirect, silence, status

from napari_medsam.errors import DownloadCancelled, DownloadError, DownloadInterrupted
from napari_medsam.models.checkpoints import hashes, transfer
from napari_medsam.models.checkpoints.choices import Remembered
from napari_medsam.models.checkpoints.fetch import fetch
from napari_medsam.models.checkpoints.parts import part_of
from napari_medsam.models.checkpoints.transfer import Patience
from napari_medsam.models.row import WeightFile

BODY = np.random.default_rng(7).bytes(300_000)
OTHER = np.random.default_rng(8).bytes(300_000)
QUICK = Patience(connect=2.0, stall=0.3, tries=3, pause=0.01)


def sha(content):
    return hashlib.sha256(content).hexdigest()


def never():
    return False


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """No proxy, no token, no offline mode and no cache of the user who runs the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(hashes, "store", lambda: tmp_path / "cache" / "digests.json")
    # else huggingface_hub asks, of its own accord, for a list of programs to name in its user agent
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    # a folder of 300 kB needs no 50 MB beside it
    monkeypatch.setattr(transfer, "SPARE", 0)


class Bench:
    """A folder to fetch into, and what was told on the way."""

    def __init__(self, tmp_path):
        self.folder = tmp_path / "weights"
        self.remembered = Remembered(tmp_path / "choices.json")
        self.told = []

    def file(self, server, **changes):
        plain = WeightFile("net.pth", size=len(BODY), sha256=sha(BODY), url=server.address + "/net.pth")
        return replace(plain, **changes)

    def fetch(self, file, *, cancelled=never, patience=QUICK, offline=False):
        return fetch(
            file,
            self.folder,
            lambda done, total: self.told.append((done, total)),
            cancelled,
            offline=offline,
            patience=patience,
            remembered=self.remembered,
        )

    def left(self):
        return sorted(p.name for p in self.folder.iterdir() if not p.name.endswith(".lock"))

    def begin(self, file, content, **seen):
        """Leave a part behind, as an interrupted fetch does."""
        self.folder.mkdir(exist_ok=True)
        part = transfer.Part(self.folder / file.name)
        part.begin(transfer.Seen(**({"address": file.url, "etag": '"one"', "total": len(BODY)} | seen)))
        part.path.write_bytes(content)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_whole_file_with_progress(bench):
    with Loopback([Content(BODY)]) as server:
        path = bench.fetch(bench.file(server))
    assert path == bench.folder / "net.pth"
    assert path.read_bytes() == BODY
    assert bench.left() == ["net.pth"]
    assert bench.told[-1] == (len(BODY), len(BODY))
    assert bench.told == sorted(bench.told)
    assert server.ranges == [""]
    assert hashes.remembered(path) == sha(BODY)


def test_a_file_that_is_there_costs_no_request(bench):
    with Loopback([Content(BODY)]) as server:
        first = bench.fetch(bench.file(server))
        assert bench.fetch(bench.file(server), offline=True) == first
    assert len(server.asked) == 1


def test_a_wrong_file_of_that_name_is_not_overwritten(bench):
    bench.folder.mkdir()
    mine = bench.folder / "net.pth"
    for content, words in ((b"mine", "4 bytes instead of 300,000"), (OTHER, sha(OTHER))):
        mine.write_bytes(content)
        with Loopback([Content(BODY)]) as server, pytest.raises(DownloadError, match=words):
            bench.fetch(bench.file(server))
        assert mine.read_bytes() == content
        assert not server.asked


@pytest.mark.parametrize("length", [True, False], ids=["short of its length", "connection closed"])
def test_truncated_answers_are_gone_on_with(bench, length):
    with Loopback([Content(BODY, cut=200_000, length=length), Content(BODY)]) as server:
        if length:
            assert bench.fetch(bench.file(server)).read_bytes() == BODY
            start = int(server.ranges[1].removeprefix("bytes=").removesuffix("-"))
            assert 200_000 - transfer.CHUNK <= start <= 200_000
            assert server.asked[1].headers["If-Range"] == '"one"'
        else:
            # without a length nobody could tell a cut file from a whole one
            with pytest.raises(DownloadError, match="does not say how long"):
                bench.fetch(bench.file(server))


def test_always_truncated_gives_up_and_keeps_what_came(bench):
    with Loopback([Content(BODY, cut=90_000)]) as server:
        with pytest.raises(DownloadInterrupted, match=r"ended after .* of 300 kB.*What came is kept") as caught:
            bench.fetch(bench.file(server))
        assert len(server.asked) == QUICK.tries
        assert "net.pth" in str(caught.value)
        kept = part_of(bench.folder / "net.pth").read_bytes()
        assert kept
        assert BODY.startswith(kept)
        # the next day
        server.answers[:] = [Content(BODY)]
        assert bench.fetch(bench.file(server)).read_bytes() == BODY
        assert server.ranges[-1] == f"bytes={len(kept)}-"


def test_a_stalled_server_is_left_and_asked_again(bench):
    with Loopback([Content(BODY, stall=150_000), Content(BODY)]) as server:
        began = time.monotonic()
        assert bench.fetch(bench.file(server)).read_bytes() == BODY
        assert time.monotonic() - began < 3
    assert server.ranges[1].startswith("bytes=")


def test_a_server_that_always_stalls(bench):
    with (
        Loopback([Content(BODY, stall=100_000)]) as server,
        pytest.raises(DownloadInterrupted, match="stopped sending"),
    ):
        bench.fetch(bench.file(server))
    assert len(server.asked) == QUICK.tries


def test_a_server_that_never_begins(bench):
    patience = replace(QUICK, tries=2, stall=0.1)
    with Loopback([silence]) as server, pytest.raises(DownloadInterrupted, match=r"127.0.0.1 stopped sending"):
        bench.fetch(bench.file(server), patience=patience)
    assert len(server.asked) == 2


def test_redirects_are_followed(bench):
    with Loopback([redirect("/a"), redirect("/b?signature=1"), Content(BODY)]) as server:
        assert bench.fetch(bench.file(server)).read_bytes() == BODY
    assert [asked.path for asked in server.asked] == ["/net.pth", "/a", "/b?signature=1"]


def test_a_circle_of_redirects_ends(bench):
    with Loopback([redirect("/again")]) as server, pytest.raises(DownloadError, match="in a circle"):
        bench.fetch(bench.file(server))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (404, "not at http://127.0.0.1.*any more.*browser"),
        (410, "any more"),
        (403, "refuses"),
        (401, "refuses"),
        (418, "418"),
    ],
)
def test_refusals_are_not_tried_again(bench, code, words):
    with Loopback([status(code)]) as server, pytest.raises(DownloadError, match=words) as caught:
        bench.fetch(bench.file(server))
    assert not isinstance(caught.value, DownloadInterrupted)
    assert len(server.asked) == 1
    assert bench.left() == []


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_troubles_of_the_server_are_tried_a_few_times(bench, code):
    with Loopback([status(code)]) as server:
        with pytest.raises(DownloadInterrupted, match=f"answers {code}. Try again later"):
            bench.fetch(bench.file(server))
        assert len(server.asked) == QUICK.tries
        server.answers[:] = [status(code), Content(BODY)]
        assert bench.fetch(bench.file(server)).read_bytes() == BODY


def test_no_server_at_all(bench):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/net.pth"
    with pytest.raises(DownloadInterrupted, match=r"no connection to 127.0.0.1"):
        bench.fetch(WeightFile("net.pth", url=url))


@pytest.mark.parametrize("url", ["net.pth", "ftp://127.0.0.1/net.pth", "http://", "file:///etc/hosts"])
def test_addresses_that_are_none(bench, url):
    with pytest.raises(DownloadError, match="not an address"):
        bench.fetch(WeightFile("net.pth", url=url))


def test_416_on_a_whole_part_finishes_it(bench):
    with Loopback([Content(BODY)]) as server:
        file = bench.file(server)
        bench.begin(file, BODY)
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == [f"bytes={len(BODY)}-"]
    assert bench.told == [(len(BODY), len(BODY))]


def test_416_on_a_part_that_is_too_long_starts_over(bench):
    with Loopback([Content(BODY)]) as server:
        file = bench.file(server)
        bench.begin(file, BODY + b"more")
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == [f"bytes={len(BODY) + 4}-", ""]


def test_416_to_everything_ends(bench):
    with Loopback([status(416)]) as server:
        file = bench.file(server)
        bench.begin(file, BODY[:1000])
        with pytest.raises(DownloadError, match=r"416|did not fit"):
            bench.fetch(file)
    assert len(server.asked) <= QUICK.tries


def test_a_server_without_ranges_starts_over(bench):
    with Loopback([Content(BODY, ranges=False)]) as server:
        file = bench.file(server)
        bench.begin(file, BODY[:100_000])
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == ["bytes=100000-"]


@pytest.mark.parametrize("blind", [False, True], ids=["If-Range is kept", "If-Range is ignored"])
@pytest.mark.parametrize("known", [True, False], ids=["sha known", "sha unknown"])
def test_a_file_that_changed_between_tries_is_fetched_anew(bench, blind, known):
    """Two halves of two files are never put together, even where nothing but the tag could tell."""
    with Loopback([Content(OTHER, etag='"two"', blind=blind)]) as server:
        file = bench.file(server, sha256=sha(OTHER) if known else "")
        bench.begin(file, BODY[:100_000])
        assert bench.fetch(file).read_bytes() == OTHER


def test_a_change_of_date_counts_where_there_is_no_tag(bench):
    old, new = "Wed, 01 Jan 2025 00:00:00 GMT", "Thu, 02 Jan 2025 00:00:00 GMT"
    with Loopback([Content(OTHER, etag="", modified=new)]) as server:
        file = bench.file(server, sha256="")
        bench.begin(file, BODY[:100_000], etag="", modified=old)
        assert bench.fetch(file).read_bytes() == OTHER
        assert server.asked[0].headers["If-Range"] == old


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_tag_and_digest_it_starts_over(bench, etag):
    with Loopback([Content(BODY, etag=etag)]) as server:
        file = bench.file(server, sha256="")
        bench.begin(file, BODY[:100_000], etag=etag)
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == [""]


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"total": "many"}', b"\xff\xfe"])
def test_a_part_without_a_proper_note_starts_over(bench, note):
    with Loopback([Content(BODY)]) as server:
        file = bench.file(server)
        bench.begin(file, BODY[:100_000])
        (bench.folder / "net.pth.part.json").write_bytes(note)
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == [""]


def test_a_part_of_another_address_starts_over(bench):
    with Loopback([Content(BODY)]) as server:
        file = bench.file(server)
        bench.begin(file, BODY[:100_000], address="http://127.0.0.1/elsewhere")
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == [""]


def test_a_range_that_begins_elsewhere_is_not_believed(bench):
    with Loopback([Content(BODY, shift=7), Content(BODY)]) as server:
        file = bench.file(server, sha256="")
        bench.begin(file, BODY[:100_000])
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == ["bytes=100000-", ""]


def test_wrong_bytes_are_removed_and_said(bench):
    with Loopback([Content(OTHER)]) as server, pytest.raises(DownloadError) as caught:
        bench.fetch(bench.file(server))
    assert sha(OTHER) in str(caught.value)
    assert sha(BODY) in str(caught.value)
    assert "browser" in str(caught.value)
    assert bench.left() == []


def test_a_spoilt_part_is_found_out_at_the_end(bench):
    with Loopback([Content(BODY)]) as server:
        file = bench.file(server)
        bench.begin(file, OTHER[:100_000])
        with pytest.raises(DownloadError, match="damaged"):
            bench.fetch(file)
        assert bench.left() == []
        assert bench.fetch(file).read_bytes() == BODY


def test_another_size_is_refused_before_it_is_fetched(bench):
    with Loopback([Content(BODY)]) as server, pytest.raises(DownloadError, match="300,000 bytes, expected 12"):
        bench.fetch(bench.file(server, size=12))
    assert bench.left() == []


def test_a_size_that_is_only_about_right_is_not_held_against_it(bench):
    with Loopback([Content(BODY)]) as server:
        assert bench.fetch(bench.file(server, size=299_000, exact=False)).read_bytes() == BODY


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"], ids=["says so", "does not say so"])
def test_a_web_page_instead_of_weights(bench, kind):
    with (
        Loopback([page(kind=kind)]) as server,
        pytest.raises(DownloadError, match=r"web page instead.*login or a proxy"),
    ):
        bench.fetch(bench.file(server))
    assert len(server.asked) == 1
    assert bench.left() == []


def test_a_login_page_does_not_cost_the_part(bench):
    with Loopback([page(), Content(BODY)]) as server:
        file = bench.file(server)
        bench.begin(file, BODY[:100_000])
        with pytest.raises(DownloadError, match="web page"):
            bench.fetch(file)
        assert bench.fetch(file).read_bytes() == BODY
    assert server.ranges == ["bytes=100000-"] * 2


def test_an_empty_answer(bench):
    with Loopback([Content(b"")]) as server, pytest.raises(DownloadError, match="how long"):
        bench.fetch(bench.file(server, size=0))


@pytest.mark.parametrize("stall", [None, 150_000], ids=["while bytes come", "while none come"])
def test_cancelling_is_quick_and_keeps_the_part(bench, stall):
    stop = threading.Event()
    patience = replace(QUICK, stall=20.0)
    with Loopback([Content(BODY, stall=stall, slow=0.0 if stall else 0.05)]) as server:
        file = bench.file(server)
        timer = threading.Timer(0.25, stop.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(DownloadCancelled):
            bench.fetch(file, cancelled=stop.is_set, patience=patience)
        assert time.monotonic() - began < 1.5
        timer.join()
        kept = part_of(bench.folder / "net.pth").read_bytes()
        assert kept
        assert BODY.startswith(kept)
        server.answers[:] = [Content(BODY)]
        assert bench.fetch(file).read_bytes() == BODY
        assert server.ranges[-1] == f"bytes={len(kept)}-"


def test_cancelled_before_it_began_asks_nobody(bench):
    with Loopback([Content(BODY)]) as server, pytest.raises(DownloadCancelled):
        bench.fetch(bench.file(server), cancelled=lambda: True)
    assert not server.asked


def test_cancelled_between_two_tries(bench):
    stop = threading.Event()
    with Loopback([status(500)]) as server:
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(DownloadCancelled):
            bench.fetch(bench.file(server), cancelled=stop.is_set, patience=replace(QUICK, pause=30.0))
        assert time.monotonic() - began < 1.5
        timer.join()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", ""])
@pytest.mark.parametrize("repository", ["", "owner/name"])
def test_offline_asks_nobody(bench, monkeypatch, name, repository):
    if name:
        monkeypatch.setenv(name, "1")
    with Loopback([Content(BODY)]) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        with pytest.raises(DownloadError, match="offline mode"):
            bench.fetch(bench.file(server, repository=repository), offline=not name)
    assert not server.asked
    assert not bench.folder.exists()


def test_files_for_a_person_name_the_page(bench):
    with pytest.raises(DownloadError, match=r"open https://drive.example/x in a browser.*choose or drop"):
        bench.fetch(WeightFile("net.pth", page="https://drive.example/x"))
    with pytest.raises(DownloadError, match="whoever trained it"):
        bench.fetch(WeightFile("net.pth"))


def test_room_is_looked_for_before_anything_is_fetched(bench, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with Loopback([Content(BODY)]) as server:
        with pytest.raises(DownloadError, match=r"300 kB are needed in .*1.0 kB are free"):
            bench.fetch(bench.file(server))
        assert not server.asked
        # with a size that nobody knew, as soon as the server says it
        with pytest.raises(DownloadError, match="300 kB are needed"):
            bench.fetch(bench.file(server, size=0))
    assert bench.left() == []


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "disk is full.*kept"), (errno.EIO, "weights folder")])
def test_a_disk_that_fails_while_writing(bench, monkeypatch, number, words):
    def fail(_):
        raise OSError(number, os.strerror(number))

    with Loopback([Content(BODY)]) as server:
        with monkeypatch.context() as patch:
            patch.setattr(transfer.os, "fsync", fail)
            with pytest.raises(DownloadError, match=words):
                bench.fetch(bench.file(server))
        assert bench.left() == ["net.pth.part", "net.pth.part.json"]
        assert bench.fetch(bench.file(server)).read_bytes() == BODY


def test_a_folder_that_is_none_or_may_not_be_written(bench, tmp_path, monkeypatch):
    bench.folder.write_bytes(b"a file")
    with Loopback([Content(BODY)]) as server:
        with pytest.raises(DownloadError, match=r"not a folder. Choose another"):
            bench.fetch(bench.file(server))
        bench.folder = tmp_path / "denied"

        def deny(*_args, **_kwargs):
            raise PermissionError(errno.EACCES, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", deny)
            with pytest.raises(DownloadError, match=r"denied.*may not write"):
                bench.fetch(bench.file(server))
    assert not server.asked


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(bench):
    bench.folder.mkdir()
    bench.folder.chmod(0o500)
    with Loopback([Content(BODY)]) as server, pytest.raises(DownloadError, match="may not write"):
        bench.fetch(bench.file(server))


def test_the_first_content_is_trusted_and_another_refused(bench):
    with Loopback([Content(BODY)]) as server:
        file = bench.file(server, sha256="")
        bench.fetch(file).unlink()
        server.answers[:] = [Content(OTHER)]
        with pytest.raises(DownloadError) as caught:
            bench.fetch(file)
        assert sha(BODY) in str(caught.value)
        assert sha(OTHER) in str(caught.value)
        assert "by hand" in str(caught.value)
        assert bench.left() == []
        server.answers[:] = [Content(BODY)]
        assert bench.fetch(file).read_bytes() == BODY


def test_two_threads_fetch_one_file_once(bench):
    with Loopback([Content(BODY, slow=0.02)]) as server:
        file, results = bench.file(server), []
        threads = [threading.Thread(target=lambda: results.append(bench.fetch(file).read_bytes())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert results == [BODY, BODY]
    assert len(server.asked) == 1


def test_two_processes_fetch_one_file_once(bench, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from napari_medsam.models.checkpoints import fetch, hashes\n"
        "from napari_medsam.models.checkpoints.choices import Remembered\n"
        "from napari_medsam.models.row import WeightFile\n"
        "url, size, folder, notes = sys.argv[1:]\n"
        "hashes.store = lambda: Path(notes) / 'digests.json'\n"
        "file = WeightFile('net.pth', int(size), url=url)\n"
        "quiet = dict(progress=lambda *_: None, cancelled=lambda: False)\n"
        "fetch.fetch(file, Path(folder), **quiet, remembered=Remembered(Path(notes) / 'choices.json'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    with Loopback([Content(BODY, slow=0.08)]) as server:
        words = [server.address + "/net.pth", str(len(BODY)), str(bench.folder), str(tmp_path / "notes")]
        both = [subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE) for _ in range(2)]
        said = [process.communicate(timeout=30)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert (bench.folder / "net.pth").read_bytes() == BODY
    assert len(server.asked) == 1
    assert bench.left() == ["net.pth"]


def test_waiting_for_another_process_can_be_cancelled(bench):
    from filelock import FileLock

    bench.folder.mkdir()
    stop = threading.Event()
    with Loopback([Content(BODY)]) as server, FileLock(bench.folder / ".net.pth.lock"):
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        with pytest.raises(DownloadCancelled):
            bench.fetch(bench.file(server), cancelled=stop.is_set)
        timer.join()
    assert not server.asked


class Hub:
    """The files of one repository, told as the hub does: the head at one address, the bytes at another."""

    def __init__(self, store, body, tag=None):
        self.store, self.body, self.tag = store, body, tag or sha(body)

    def __call__(self, handler):
        told = {"X_Repo_Commit": "c" * 40, "X_Linked_Etag": f'"{self.tag}"', "X_Linked_Size": str(len(self.body))}
        redirect(self.store.address + "/blob?signature=secret", **told)(handler)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Loopback([Content(BODY)]) as store, Loopback([]) as server:
        server.answers.append(Hub(store, BODY))
        server.store = store
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
        yield server


def in_hub(**changes):
    return replace(WeightFile("net.pth", size=len(BODY), repository="owner/name", inside="deep/net.pth"), **changes)


def test_a_repository_is_asked_with_the_token_and_the_store_without(bench, hub):
    assert bench.fetch(in_hub()).read_bytes() == BODY
    assert {asked.path for asked in hub.asked} == {"/owner/name/resolve/main/deep/net.pth"}
    assert [asked.method for asked in hub.asked] == ["HEAD", "GET"]
    tokens = [{k.lower(): v for k, v in asked.headers.items()}.get("authorization") for asked in hub.asked]
    assert tokens == ["Bearer hf_of_the_user"] * 2
    assert [asked.path for asked in hub.store.asked] == ["/blob?signature=secret"]
    assert "authorization" not in {name.lower() for name in hub.store.asked[0].headers}


def test_what_the_hub_says_of_the_content_is_checked(bench, hub):
    hub.store.answers[:] = [Content(OTHER)]
    with pytest.raises(DownloadError, match="damaged"):
        bench.fetch(in_hub())
    assert bench.left() == []


def test_a_repository_with_another_file_is_refused_before_it_is_fetched(bench, hub):
    with pytest.raises(DownloadError, match=f"{sha(BODY)}, expected {sha(OTHER)}"):
        bench.fetch(in_hub(sha256=sha(OTHER)))
    assert not hub.store.asked


def test_a_repository_whose_first_content_was_another_is_refused_before_it_is_fetched(bench, hub):
    bench.remembered.keep_first(in_hub(), sha(OTHER))
    with pytest.raises(DownloadError, match="fetched first"):
        bench.fetch(in_hub())
    assert not hub.store.asked


def test_a_cut_answer_of_the_store_is_gone_on_with_through_the_hub(bench, hub):
    hub.store.answers[:] = [Content(BODY, cut=200_000), Content(BODY)]
    assert bench.fetch(in_hub()).read_bytes() == BODY
    assert [bool(r) for r in hub.store.ranges] == [False, True]
    assert [bool(r) for r in hub.ranges] == [False, True]


@pytest.mark.parametrize(
    ("answer", "words", "again"),
    [
        (status(404, X_Error_Code="EntryNotFound"), "not in the repository owner/name", False),
        (status(401, X_Error_Code="RepoNotFound"), "HF_TOKEN", False),
        (status(403, X_Error_Code="GatedRepo"), "accept them", False),
        (status(403), "refuses", False),
        (status(400), "answers 400", False),
        (status(500), "answers 500", True),
    ],
)
def test_refusals_of_the_hub(bench, hub, answer, words, again):
    hub.answers[:] = [answer]
    with pytest.raises(DownloadError, match=words) as caught:
        bench.fetch(in_hub())
    assert isinstance(caught.value, DownloadInterrupted) == again
    assert len(hub.asked) == (QUICK.tries if again else 1)


def test_a_hub_that_is_silent(bench, hub):
    hub.answers[:] = [silence]
    with pytest.raises(DownloadInterrupted, match="hub does not answer"):
        bench.fetch(in_hub(), patience=replace(QUICK, connect=0.2, tries=2))


def test_small_files_have_a_git_hash_which_says_nothing(bench, hub):
    hub.answers[:] = [Hub(hub.store, BODY, tag="a" * 40)]
    assert bench.fetch(in_hub()).read_bytes() == BODY
