"""Files of pretrained weights that the config names: a path, or a URL with its SHA-256.

Nothing is fetched unless the config names a URL.
"""

import fcntl
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from rsvp.errors import UserError
from rsvp.files import sha256_of_file

ATTEMPTS = 5
TIMEOUT = 30.0  # seconds without an answer
_CHUNK = 1 << 20  # bytes
_PERMANENT = (400, 401, 403, 404, 410)  # HTTP answers that another attempt would not change

logger = logging.getLogger(__name__)


def weights_path(source: str, sha256: str | None, key: str, cache: Path | None = None) -> Path:
    """The local file of `source`, downloaded first where it is a URL and not in the cache.

    sha256: of the file; required for a URL, checked for a path too where it is given.
    key: of the config, for messages. cache: by default `~/.cache/rsvp/weights`.
    """
    if not is_url(source):
        path = Path(source).expanduser()
        if not path.is_file():
            raise UserError(f"{key}: {source}: no such file; correct the path or leave it empty")
        if sha256 is not None:
            _check(path, sha256, f"{key}: {source}")
        return path
    if sha256 is None:
        raise UserError(f"{key}: {source}: a URL needs {key}_sha256, the file's SHA-256 in hex")
    folder = cache or default_cache()
    path = folder / f"{sha256.lower()[:16]}-{Path(urllib.request.url2pathname(source)).name}"
    if not path.exists():
        download(source, path, sha256, key)
    return path


def is_url(source: str) -> bool:
    """Whether a config value names something to download."""
    return source.startswith(("http://", "https://"))


def default_cache() -> Path:
    """`weights` in rsvp's folder of the user's cache (XDG_CACHE_HOME, or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rsvp" / "weights"


def download(
    url: str, path: Path, sha256: str, key: str, attempts: int = ATTEMPTS, pause: float = 1.0
) -> None:
    """Download `url` to `path`, which appears only whole and with the right SHA-256.

    What a broken attempt left in `<path>.part` is continued, by a later call too. Jobs that want
    the same file wait for each other. pause: seconds before the second attempt, doubled each time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with open(path.with_name(f"{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        for attempt in range(attempts):
            try:
                _fetch(url, part)
                break
            except urllib.error.HTTPError as error:
                reason: Exception = error
                if error.code in _PERMANENT:
                    raise UserError(_message(key, url, path, f"HTTP {error.code}")) from None
            except (OSError, http.client.HTTPException) as error:
                reason = error
            if attempt + 1 == attempts:
                raise UserError(_message(key, url, path, str(reason))) from None
            logger.warning("%s: %s; trying again", url, reason)
            time.sleep(pause * 2**attempt)
        try:
            _check(part, sha256, f"{key}: {url}")
        except UserError:
            part.unlink()
            raise
        os.replace(part, path)


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what it lacks of `url`; starts anew where the server cannot continue."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing, or the file changed: the checksum tells
            return
        raise
    with response:
        resumed = response.status == 206
        missing = int(response.headers.get("Content-Length", 0)) or None
        with (
            open(part, "ab" if resumed else "wb") as stream,
            tqdm(total=missing, unit="B", unit_scale=True, desc=part.stem, leave=False) as bar,
        ):
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
        if missing is not None and bar.n < missing:
            raise OSError(f"connection closed {missing - bar.n} bytes early")


def _check(path: Path, sha256: str, what: str) -> None:
    found = sha256_of_file(path)
    if found != sha256.lower():
        raise UserError(
            f"{what}: SHA-256 is {found}, not {sha256}; name the right file, or correct its sum"
        )


def _message(key: str, url: str, path: Path, reason: str) -> str:
    return (
        f"{key}: {url} could not be downloaded ({reason}); connect, or put the file at {path}, "
        f"or name a local file in {key}, or leave it empty"
    )
