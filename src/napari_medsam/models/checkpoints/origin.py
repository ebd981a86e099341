"""Where a file of weights comes from: a plain address, or one that huggingface_hub resolves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_medsam.errors import DownloadError, DownloadInterrupted
from napari_medsam.models.row import WeightFile


@dataclass(frozen=True)
class Origin:
    """An address to read from.

    Parameters
    ----------
    address : str
    headers : mapping of str to str
        To send along: who asks, and the user's token for a repository.
    sha256 : str
        Hex digest of the content that is expected there: the table's, else what the hub states; empty for neither.
    """

    address: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""


def origin_of(file: WeightFile, timeout: float) -> Origin:
    """Find out where a file is; asks the hub when it is in a repository, and else nobody.

    HF_ENDPOINT names another hub, HF_TOKEN is the user's token.

    Raises
    ------
    DownloadError
        There is neither address nor repository, the hub refuses, or it states another SHA-256 than the table.
    DownloadInterrupted
        The hub does not answer; it may later.
    """
    if not file.fetchable:
        raise by_hand(file)
    return _in_repository(file, timeout) if file.repository else Origin(file.url, sha256=file.sha256)


def by_hand(file: WeightFile) -> DownloadError:
    """What to do for a file that only a person can get."""
    where = f"open {file.page} in a browser" if file.page else "get it from whoever trained it"
    return DownloadError(f"{file.name} cannot be fetched by the plugin: {where}, save the file, and choose or drop it.")


def _in_repository(file: WeightFile, timeout: float) -> Origin:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, utils
    from huggingface_hub.errors import OfflineModeIsEnabled

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    url = hf_hub_url(file.repository, file.inside or file.name, endpoint=endpoint)
    try:
        told = get_hf_file_metadata(url, timeout=timeout)
    except OfflineModeIsEnabled as error:
        raise DownloadError(why_offline(file)) from error
    except Exception as error:  # of requests, httpx or others, as the hub's version has it
        raise _refusal(file, url, error) from error
    # the hub's tag is the SHA-256 of a large file, and the git hash of a small one
    there = told.etag if told.etag and re.fullmatch(r"[0-9a-f]{64}", told.etag) else ""
    if there and file.sha256 and there != file.sha256:
        raise DownloadError(
            f"{file.name} in the repository {file.repository} is another file now: its SHA-256 is {there}, expected "
            f"{file.sha256}. Update the plugin, or, if you trust it, get it in a browser and choose it by hand."
        )
    # not told.location: that address is signed and expires, while this one leads to a new one at every try
    hub: Any = utils  # build_hf_headers is documented, and not exported in the eyes of mypy
    return Origin(url, hub.build_hf_headers(), file.sha256 or there)


def why_offline(file: WeightFile) -> str:
    """Why nothing is fetched, and what to do."""
    where = file.page or file.url or f"the Hugging Face repository {file.repository}"
    return (
        f"{file.name} is not fetched: offline mode is on (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE). "
        f"Unset it, or bring the file from {where} and choose it."
    )


def _refusal(file: WeightFile, url: str, error: Exception) -> DownloadError:
    """The hub's answer in words; DownloadInterrupted when another try may help."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return DownloadError(
            f"The repository {file.repository} gives {file.name} only to those who accept its terms. Log in at its "
            "page on Hugging Face, accept them, and set HF_TOKEN; or get the file in a browser and choose it."
        )
    if isinstance(error, EntryNotFoundError | RepositoryNotFoundError):
        return DownloadError(
            f"{file.name} is not in the repository {file.repository} any more, or it needs a token (HF_TOKEN). "
            "Look at its page on Hugging Face, or get the file elsewhere and choose it."
        )
    status = getattr(getattr(error, "response", None), "status_code", 0) or 0
    kept = "Check the connection and try again, or get the file in a browser and choose it."
    if status in (401, 403):
        return DownloadError(f"{url} refuses {file.name} ({status}). Check HF_TOKEN, or get it in a browser.")
    if 400 <= status < 500 and status not in (408, 429):
        return DownloadError(f"{url} could not be read: the hub answers {status}. {kept}")
    found = f"the hub answers {status}" if status else "the hub does not answer"
    return DownloadInterrupted(f"{file.name} could not be fetched: {found} at {url}. {kept}")
