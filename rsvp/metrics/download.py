"""Downloads that can be trusted: continued after a break, tried again, whole, and as meant."""

import logging
import os
import time
from pathlib import Path

import requests
from tqdm import tqdm

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import sha256_of_file

ATTEMPTS = 5
PAUSE = 1.0  # seconds before the second attempt; doubled each time
TIMEOUT = 30.0  # seconds without an answer, or between two pieces of it
_CHUNK = 1 << 16  # bytes; what a broken connection loses, at most
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)  # HTTP answers that may pass

logger = logging.getLogger(__name__)


class _Broken(Exception):
    """An attempt failed in a way that another one may not."""


def download(url: str, path: Path, sha256: str, key: str) -> None:
    """Download `url` to `path`, which appears only whole and with the right SHA-256.

    What a broken attempt left in `<path>.part` is continued, by a later call too. UserError with
    one line where it cannot be had.

    key: of the config, for messages.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _attempt(url, part, sha256, key)
        except (requests.RequestException, _Broken) as error:
            reason = _innermost(error)
            logger.warning("%s: %s", url, reason)
        else:
            os.replace(part, path)
            return
    raise UserError(
        f"{key}: {url} could not be downloaded in {ATTEMPTS} attempts ({reason}); connect and run "
        f"the same command again, which continues, or name a local file in {key}"
    )


def _attempt(url: str, part: Path, sha256: str, key: str) -> None:
    """Complete `part` and check it; `_Broken` where another attempt may succeed."""
    continued = part.exists() and part.stat().st_size > 0
    _fetch(url, part, key)
    found = sha256_of_file(part)
    if found == sha256.lower():
        return
    part.unlink()
    if continued:
        raise _Broken("what was continued is not what it began as")
    raise UserError(
        f"{key}: {url} has the SHA-256 {found}, not {sha256.lower()}; correct the URL, or its sum "
        f"in {key}_sha256 if you trust what is there now"
    )


def _fetch(url: str, part: Path, key: str) -> None:
    """Append to `part` what it lacks of `url`; starts anew where the server cannot continue."""
    have = part.stat().st_size if part.exists() else 0
    # Compressed on the way, bytes could not be counted.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if have and answer.status_code == 416:
            return  # nothing is missing, or the file is another one now: its sum tells
        if answer.status_code in _WORTH_ANOTHER_TRY:
            raise _Broken(f"HTTP {answer.status_code} {answer.reason}")
        if not answer.ok:
            raise UserError(
                f"{key}: {url}: HTTP {answer.status_code} {answer.reason}; correct the URL, or "
                f"name a local file in {key}"
            )
        _store(answer, part, have)


def _store(answer: requests.Response, part: Path, have: int) -> None:
    """Write the body of an answer behind the `have` bytes of `part`, or in their place."""
    range_start = answer.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    continues = answer.status_code == 206 and range_start == str(have)
    if not continues and answer.status_code == 206:
        part.unlink(missing_ok=True)
        raise _Broken("the server answered with another part than the one that was asked for")
    length = int(answer.headers.get("Content-Length", 0)) or None
    with (
        open(part, "ab" if continues else "wb") as stream,
        tqdm(
            total=length and length + have * continues,
            initial=have * continues,
            unit="B",
            unit_scale=True,
            desc=part.stem,
            leave=False,
        ) as bar,
    ):
        for chunk in answer.iter_content(_CHUNK):
            stream.write(chunk)
            bar.update(len(chunk))


def _innermost(error: BaseException) -> str:
    """What went wrong in a few words: libraries wrap it in their own types."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__
