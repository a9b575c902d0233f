"""Downloads by pooch: tried again, checked by SHA-256, and never half written."""

from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import sha256_of_file

ATTEMPTS = 5
TIMEOUT = 30.0  # seconds without an answer, or between two pieces of it
_CHUNK = 1 << 16  # bytes


def download(url: str, path: Path, sha256: str, key: str) -> None:
    """Download `url` to `path`, which stays only with the right SHA-256.

    UserError with one line where it cannot be had. key: of the config, for messages.
    """
    # Without a hash: pooch would try other content again.
    files = pooch.create(
        path.parent, "", registry={path.name: None}, urls={path.name: url},
        retry_if_failed=ATTEMPTS - 1,
    )  # fmt: skip
    headers = {"Accept-Encoding": "identity"}  # the SHA-256 is of the file as it is stored
    try:
        # pooch gives the bar its total.
        with tqdm(total=1, unit="B", unit_scale=True, desc=path.name, leave=False) as bar:
            http = pooch.HTTPDownloader(bar, _CHUNK, timeout=TIMEOUT, headers=headers)
            files.fetch(path.name, downloader=http)
    except requests.RequestException as error:
        raise UserError(
            f"{key}: {url} could not be downloaded in {ATTEMPTS} attempts ({_innermost(error)}); "
            "connect and run the same command again, correct the URL, or name a local file"
        ) from None
    if (found := sha256_of_file(path)) != sha256.lower():
        path.unlink()
        raise UserError(
            f"{key}: {url}: its SHA-256 is {found}, not {sha256.lower()}; correct the URL, or its "
            "SHA-256 if you trust what is there now"
        )


def _innermost(error: BaseException) -> str:
    """Return the reason of an error in a few words: libraries wrap it in their own types."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__
