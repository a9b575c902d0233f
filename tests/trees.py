"""Trees of small files."""

import os


def make(root, *paths, content=b"x"):
    """Write files of some content."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def settle(root):
    """Date files back, so that their hashes count as settled."""
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(os.path.join(folder, name), (1e9, 1e9))
