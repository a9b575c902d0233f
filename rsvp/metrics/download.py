"""Downloads by pooch: tried again, checked by SHA-256, and never half written."""

import logging
import time
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from rsvp.runtime.errors import UserError

ATTEMPTS = 5
PAUSE = 1.0  # seconds before the second attempt; doubled each time
TIMEOUT = 30.0  # seconds without an answer, or between two pieces of it
_CHUNK = 1 << 16  # bytes
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)  # HTTP answers that may pass

logger = logging.getLogger(__name__)


def download(url: str, path: Path, sha256: str, key: str) -> None:
    """Download `url` to `path`, which appears only whole and with the right SHA-256.

    UserError with one line where it cannot be had. key: of the config, for messages.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _attempt(url, path, sha256)
        except requests.RequestException as error:
            reason = _innermost(error)
            answer = error.response
            if answer is not None and answer.status_code not in _WORTH_ANOTHER_TRY:
                raise UserError(
                    f"{key}: {reason}; correct the URL, or name a local file in {key}"
                ) from None
            logger.warning("%s: %s", url, reason)
        except ValueError as error:  # pooch: another SHA-256
            reason = str(error).partition(". ")[0]
            raise UserError(
                f"{key}: {url}: {reason}; correct the URL, or its SHA-256 if you trust what is "
                "there now"
            ) from None
    raise UserError(
        f"{key}: {url} could not be downloaded in {ATTEMPTS} attempts ({reason}); connect and run "
        f"the same command again, or name a local file in {key}"
    )


def _attempt(url: str, path: Path, sha256: str) -> None:
    """Download once; pooch writes to a temporary file beside `path`, and removes it on errors."""
    headers = {"Accept-Encoding": "identity"}  # the SHA-256 is of the file as it is stored
    # pooch gives the bar its total.
    with tqdm(total=1, unit="B", unit_scale=True, desc=path.name, leave=False) as bar:
        fetch = pooch.HTTPDownloader(bar, _CHUNK, timeout=TIMEOUT, headers=headers)
        pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=fetch)


def _innermost(error: BaseException) -> str:
    """Return the reason of an error in a few words: libraries wrap it in their own types."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__
