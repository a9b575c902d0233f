"""The zoo of bad and odd input: each video, folder and config works, or is refused in one line.

All videos are decoded by one real run of snakemake, in folders whose own names are hostile.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import yaml
from config_file import read_config_file
from PIL import Image, ImageOps
from plan import Plan
from projects import ROOT, Answer, Project, copy_project

from rsvp.data.folders import ClipFolder
from rsvp.data.frames import KEY, read_column
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json
from tests.another_user import said_to_another_user

HOSTILE = "it's $(touch PWNED);`touch PWNED` \"&|"
RESULTS = f"results {HOSTILE}"
VIDEOS = f"videos {HOSTILE} {{x}} %05d"
FOLDERS = "frame folders"
SHORT = {"target_frames": 2}
CONFIG = {
    "results": RESULTS,
    "datasets": {
        "zoo": {
            "path": VIDEOS,
            "resolution": 32,
            "clip_frames": 4,
            "context_frames": 2,
            "decode_jobs": 2,
            "max_rejected_fraction": 1.0,
        },
        "folders": {
            "source": "frames",
            "path": FOLDERS,
            "resolution": 32,
            "clip_frames": 4,
            "context_frames": 2,
            "decode_jobs": 1,
            "max_rejected_fraction": 1.0,
            "split": {"kind": "official", "lists": "lists"},
        },
    },
}


def config_of(dataset: str) -> dict:
    """One dataset's config: a report is of one."""
    trained = {"dataset": dataset, "pretrain": SHORT, "finetune": SHORT}
    return CONFIG | {
        "autoencoders": {"a": trained},
        "predictors": {"a": {"autoencoder": "a"}},
        "report": {"predictors": ["a"]},
    }


FRAMES, SIZE = 12, (48, 40)
NO_VIDEO = "cannot be opened as a video: Invalid data found when processing input"
DENIED = "cannot be opened as a video: Permission denied"
NAMES_OTHERS = "names other files or addresses, as a playlist does"
X264 = ["-c:v", "libx264", "-preset", "ultrafast"]

Make = Callable[[Path, Path], None]  # writes one file of the zoo; the second path: plain videos


@dataclass(frozen=True)
class Works:
    """A video that is decoded: all of its frames, at the size that its file says."""

    frames: int = FRAMES
    size: tuple[int, int] = SIZE
    damaged: bool = False  # it is said that some of it is missing


def ffmpeg(*arguments: object) -> None:
    """Run the shipped ffmpeg to make material."""
    binary = imageio_ffmpeg.get_ffmpeg_exe()
    command = [binary, "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


# What ffmpeg makes of its test picture, all by one call: the file's name, then its options.
PLAIN: dict[str, list[str]] = {
    "plain.mp4": ["-c:v", "mpeg4"],
    "plain.avi": ["-c:v", "mjpeg", "-q:v", "2"],
    "plain.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "16"],
    "plain.gif": [],
    "one.mp4": ["-frames:v", "1", "-c:v", "mpeg4"],
    "odd.mkv": ["-c:v", "ffv1", "-s", "33x31"],
    "1x1.mkv": ["-c:v", "ffv1", "-s", "1x1"],
    "8k.mkv": ["-c:v", "ffv1", "-frames:v", "4", "-s", "8192x32"],
    "line.mkv": ["-c:v", "ffv1", "-frames:v", "4", "-s", "8192x8"],
    "variable.mkv": ["-vf", "setpts=N*N*TB", "-fps_mode", "passthrough", "-c:v", "ffv1"],
    "ten_bit.mp4": [*X264, "-pix_fmt", "yuv420p10le"],
    "gray.mkv": ["-c:v", "ffv1", "-pix_fmt", "gray"],
    "alpha.mov": ["-c:v", "qtrle", "-pix_fmt", "argb"],
    "interlaced.mkv": ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-r", "25"],
    "cover.png": ["-frames:v", "1"],
    "cover.jpg": ["-frames:v", "1"],
}


def make_plain(folder: Path) -> None:
    """The material that files of the zoo are copies or mutilations of."""
    picture = f"testsrc=size={SIZE[0]}x{SIZE[1]}:rate=10:duration={FRAMES / 10}"
    outputs = [part for name, options in PLAIN.items() for part in (*options, folder / name)]
    ffmpeg("-f", "lavfi", "-i", picture, *outputs)
    sound = ["-f", "lavfi", "-i", "sine=duration=0.2"]
    ffmpeg(*sound, folder / "sound.mp4")
    ffmpeg("-i", folder / "sound.mp4", "-i", folder / "cover.png", "-map", "0", "-map", "1",
           "-c", "copy", "-disposition:v:0", "attached_pic", folder / "song.mp4")  # fmt: skip
    ffmpeg("-display_rotation", "90", "-i", folder / "plain.mp4", "-c", "copy",
           folder / "rotated.mp4")  # fmt: skip


def copy(name: str) -> Make:
    """A copy of plain material, under whatever name."""

    def make(path: Path, plain: Path) -> None:
        shutil.copy(plain / name, path)

    return make


def content(data: bytes | str) -> Make:
    """A file of these bytes, PORT replaced by that of a server which must not hear from us."""
    data = data.encode() if isinstance(data, str) else data

    def make(path: Path, plain: Path) -> None:
        path.write_bytes(data.replace(b"PORT", (plain / "port").read_bytes()))

    return make


def cut(name: str, part: float) -> Make:
    """The beginning of a plain file."""

    def make(path: Path, plain: Path) -> None:
        whole = (plain / name).read_bytes()
        path.write_bytes(whole[: int(part * len(whole))])

    return make


def link(target: str) -> Make:
    """A link to somewhere, seen from its folder."""
    return lambda path, plain: path.symlink_to(target)


def unreadable(path: Path, plain: Path) -> None:
    """A good video that only root may read."""
    shutil.copy(plain / "plain.mp4", path)
    path.chmod(0)


def huge(path: Path, plain: Path) -> None:
    """A GIF that declares 16000 by 16000 pixels: a gigabyte per frame."""
    data = bytearray((plain / "plain.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 16000, 16000)
    path.write_bytes(data)


def folder_of_a_video(path: Path, plain: Path) -> None:
    """A folder that is called like a video, and holds one."""
    path.mkdir()
    shutil.copy(plain / "plain.mp4", path / "inner.mp4")


ROOT_RUNS = os.geteuid() == 0  # who reads and writes all files
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
REMOTE = "http://127.0.0.1:PORT/a.ts"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video PORT RTP/AVP 96\n"
DASH = f"""<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{REMOTE}</BaseURL>
</Representation></AdaptationSet></Period></MPD>"""
# Videos by name: how each is made, and what becomes of it: it works, it is rejected with a reason,
# or it is not looked at (None).
KINDS: dict[str, tuple[Make, Works | str | None]] = {
    "plain.mp4": (copy("plain.mp4"), Works()),
    "cut early.mp4": (cut("plain.mp4", 0.8), NO_VIDEO),
    "cut late.avi": (cut("plain.avi", 0.7), Works(8, damaged=True)),
    "header alone.avi": (cut("plain.avi", 0.05), NO_VIDEO),
    "empty.mp4": (content(b""), "an empty file (0 bytes)"),
    "text.avi": (content("this is no video\n" * 99), NO_VIDEO),
    "noise.mkv": (content(np.random.default_rng(0).bytes(9999)), NO_VIDEO),
    "zeros.mov": (content(bytes(9999)), NO_VIDEO),
    "sound.mp4": (copy("sound.mp4"), "no video stream in it"),
    "song.mp4": (copy("song.mp4"), "no video stream in it"),
    "one.mp4": (copy("one.mp4"), "too short: 1 frames, a clip spans 4"),
    "odd.mkv": (copy("odd.mkv"), Works(size=(33, 31))),
    "1x1.mkv": (copy("1x1.mkv"), Works(size=(1, 1))),
    "8k.mkv": (copy("8k.mkv"), Works(4, (8192, 32))),
    "line.mkv": (copy("line.mkv"), "8192x8 pixels: too narrow to make frames of"),
    "huge.gif": (huge, "16000x16000 pixels: too many, 67108864 is the most"),
    "variable.mkv": (copy("variable.mkv"), Works()),
    "rotated.mp4": (copy("rotated.mp4"), Works()),
    "ten_bit.mp4": (copy("ten_bit.mp4"), Works()),
    "gray.mkv": (copy("gray.mkv"), Works()),
    "alpha.mov": (copy("alpha.mov"), Works()),
    "interlaced.mkv": (copy("interlaced.mkv"), Works(30)),
    "mp4.avi": (copy("plain.mp4"), Works()),
    "webm.gif": (copy("plain.webm"), Works()),
    "gif.mp4": (copy("plain.gif"), Works()),
    "png.mp4": (copy("cover.png"), "too short: 1 frames, a clip spans 4"),
    "jpg.mp4": (copy("cover.jpg"), "too short: 1 frames, a clip spans 4"),
    "dangling.mp4": (link("gone.mp4"), "a link to nothing"),
    "itself.mp4": (link("itself.mp4"), "a link to nothing"),
    "there.mp4": (link("back.mp4"), "a link to nothing"),
    "back.mp4": (link("there.mp4"), "a link to nothing"),
    "linked.mp4": (link("plain.mp4"), Works()),
    "up": (link("."), None),
    "fifo.mp4": (lambda path, plain: os.mkfifo(path), "not a regular file"),
    "device.mp4": (link("/dev/zero"), "not a regular file"),
    "unreadable.mp4": (unreadable, Works() if ROOT_RUNS else DENIED),
    "folder.mp4": (folder_of_a_video, None),
    "folder.mp4/inner.mp4": (lambda path, plain: None, Works()),
    ".hidden.mp4": (copy("plain.mp4"), None),
    "notes.txt": (content("no video by its name"), None),
    "concat.mp4": (content("ffconcat version 1.0\nfile plain.mp4\n"), "a playlist (concat)"),
    "concat hidden.mp4": (content("ffconcat version 1.0\nfile .hidden.mp4\n"), NAMES_OTHERS),
    "concat passwd.mp4": (content("ffconcat version 1.0\nfile /etc/passwd\n"), NAMES_OTHERS),
    "concat remote.avi": (content(f"ffconcat version 1.0\nfile {REMOTE}\n"), NAMES_OTHERS),
    "hls.mp4": (content(PLAYLIST.format(REMOTE)), NO_VIDEO),
    "hls passwd.mkv": (content(PLAYLIST.format("/etc/passwd")), NO_VIDEO),
    "sdp.mp4": (content(SDP), NO_VIDEO),
    "dash.mp4": (content(DASH), NO_VIDEO),
}

# Good videos by their names, and what the tables call them.
NAMES: dict[str, str] = {
    name: name
    for name in (
        "-i", "--help", "-y -f lavfi", "it's", 'say "hi"', "$(touch PWNED)", "`touch PWNED`",
        ";touch PWNED;", "|touch PWNED", "&touch PWNED&", "a > PWNED", "${IFS}", "$HOME", "~", "*",
        "?", "[0]", "{share}", "{{x}}", "a%05d", "%s%n", "a:b", "file:a", "pipe:1", "http:a", "@x",
        "concat:a|b", "#a", "a,b", "=1+1", "<b>a<br>", "&lt;", "NA", "null", "007", "1e5", "True",
        " a ", "a..", "日本語 🎬", "e\u0301", "back\\slash", "x" * 251, "prn", "seed0",
    )
} | {
    "two\nlines": "two\\nlines",
    "two\rlines": "two\\rlines",
    "tab\tand\x07bell": "tab\\tand\\x07bell",
    os.fsdecode(b"caf\xe9"): "caf\\xe9",
}  # fmt: skip


# Some of them for each run of the tests; the others are in `make soak`.
SAMPLE = {
    name: shown
    for name, shown in NAMES.items()
    if name in ("-i", "it's", "$(touch PWNED)", "{share}", "%s%n", "NA", " a ", "two\nlines")
}


def images(*names: str, size: tuple[int, int] = SIZE) -> Make:
    """A folder of images with these names, each of another shade.

    Folders are no copies, but for one of two sides.
    """

    def make(path: Path, plain: Path) -> None:
        path.mkdir(parents=True)
        tint = zlib.crc32(path.name.replace("_g01_", "_g08_").encode()) % 250
        for shade, name in enumerate(names, 1):
            Image.new("RGB", size, (20 * shade, 20 * shade, tint)).save(path / name)

    return make


def spoilt(name: str, spoil: Callable[[Path], object]) -> Make:
    """A folder of four images, with something else in one's place."""

    def make(path: Path, plain: Path) -> None:
        images("1.png", "2.png", "3.png", "4.png")(path, plain)
        (path / name).unlink(missing_ok=True)
        spoil(path / name)

    return make


def half_a_png(path: Path) -> None:
    """An image whose header is whole and whose picture is not."""
    Image.effect_noise(SIZE, 99).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:90])


def declare_pixels(path: Path) -> None:
    """A PNG that declares 30000 by 30000 pixels."""
    Image.new("RGB", SIZE).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 30000, 30000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


FOUR = ("1.png", "2.png", "3.png", "4.png")
HAND = "HandstandPushups/v_HandstandPushups"
# Frame folders, as KINDS.
FRAME_FOLDERS: dict[str, tuple[Make, Works | str | None]] = {
    f"{HAND}_g01_c01": (images(*FOUR), Works(4)),
    f"{HAND}_g08_c01": (images(*FOUR), Works(4)),
    f"{HAND}_g09_c01": (images(*FOUR), Works(4)),
    f"{HAND}_g10_c01": (images("f08.jpg", "f09.jpg", "f10.jpg", "f11.jpg"), Works(4)),
    f"{HAND}_g11_c01": (images("0005.png", "0010.png", "0015.png", "0020.png"), Works(4)),
    f"{HAND}_g12_c01": (images(*(f"-{HOSTILE}\n%d {n}.png" for n in range(4))), Works(4)),
    "odd/single": (images("1.png"), "too short: 1 frames, a clip spans 4"),
    "odd/gap": (images("1.png", "2.png", "3.png", "5.png"), "frame number 4 is missing"),
    "odd/twice": (images("1.png", "01.png", "2.png", "3.png"), "frame number 1 comes twice"),
    "odd/formats": (images("1.png", "2.png", "3.jpg", "4.png"), "images of one kind are needed"),
    "odd/sizes": (
        spoilt("3.png", lambda path: Image.new("RGB", (9, 9)).save(path)),
        "images of different sizes (first seen at 3.png)",
    ),
    "odd/text": (spoilt("2.png", lambda path: path.write_text("text")), "2.png is not an image"),
    "odd/empty": (spoilt("2.png", lambda path: path.touch()), "2.png is not an image"),
    "odd/half": (spoilt("4.png", half_a_png), "only 3 of 4 images could be decoded"),
    "odd/pixels": (spoilt("4.png", declare_pixels), "4.png has too many pixels"),
    "odd/fifo": (spoilt("2.png", os.mkfifo), "2.png is not a regular file"),
    "odd/dangling": (spoilt("2.png", lambda path: path.symlink_to("gone")), "2.png is a link to"),
    "odd/itself": (spoilt("2.png", lambda path: path.symlink_to(path)), "2.png is a link to"),
    "odd/folder": (spoilt("2.png", lambda path: path.mkdir()), "frame number 2 is missing"),
    "odd/hidden": (spoilt(".5.png", lambda path: path.touch()), Works(4)),
    "odd/notes": (spoilt("notes.txt", lambda path: path.touch()), Works(4)),
    "odd/empty folder": (lambda path, plain: path.mkdir(parents=True), None),
}
LISTS = {
    "trainlist01.txt": [
        "HandstandPushups/v_HandStandPushups_g08_c01.avi 1",
        "handstandpushups/v_HANDSTANDPUSHUPS_g09_c01.avi 1",
        "HandstandPushups\\v_HandStandPushups_g10_c01.avi 1",
        "HandstandPushups/v_HandStandPushups_g11_c01.avi 1",
        "HandstandPushups/v_HandStandPushups_g12_c01.avi 1",
        "Gone/v_Gone_g08_c01.avi 2",
        "",
        "odd/hidden.avi 3",
        "odd/notes.avi 3",
    ],
    "testlist01.txt": ["HandstandPushups/v_HandStandPushups_g01_c01.avi", "../../etc/passwd"],
}


@dataclass(frozen=True)
class Zoo:
    """The results of one run on all of it: rows of the two tables by the video's path, and more."""

    answer: Answer
    videos: dict[str, dict[str, str]]
    rejected: dict[str, dict[str, str]]
    before: dict[str, str]
    after: dict[str, str]
    called: bool  # the server was
    names: set[str]  # what the folder of odd names holds
    folder: Path  # of the project

    @property
    def told(self) -> list[tuple[str, str]]:
        """(stage, message) of what the stages said, also behind another job's progress bar."""
        return re.findall(r"rsvp (\w+): (.*)", self.answer.text)


def fill(project: Project, port: int, odd: Iterable[str]) -> None:
    """Write the zoo's config, videos, some of odd names, frame folders and lists.

    `port`: of the server.
    """
    for name in CONFIG["datasets"]:
        (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(config_of(name)))
    plain, videos = project.folder / "plain", project.folder / VIDEOS
    for folder in (plain, videos / "kinds", videos / "names", project.folder / "lists"):
        folder.mkdir(parents=True)
    make_plain(plain)
    (plain / "port").write_text(str(port))
    for name, (make, _) in KINDS.items():
        make(videos / "kinds" / name, plain)
    for name in odd:
        with suppress(OSError):  # not every file system takes each name
            shutil.copy(plain / "plain.mp4", videos / "names" / f"{name}.mp4")
    for name, (make, _) in FRAME_FOLDERS.items():
        make(project.folder / FOLDERS / name, plain)
    for name, lines in LISTS.items():
        (project.folder / "lists" / name).write_text("".join(f"{line}\r\n" for line in lines))


def tree(folder: Path) -> dict[str, str]:
    """Each path below a folder with what is there.

    Without the results, Python's compiled modules, and the places of Snakemake's own logs and
    sources.
    """
    found = {}
    for parent, folders, files in os.walk(folder):
        left_out = {RESULTS, "__pycache__", ".snakemake", "snakemake"}
        folders[:] = [name for name in folders if name not in left_out]
        for name in (*folders, *files):
            path = Path(parent, name)
            found[str(path)] = (
                f"link {os.readlink(path)}" if path.is_symlink()
                else "other" if not path.is_file()
                else hashlib.sha256(path.read_bytes()).hexdigest() if os.access(path, os.R_OK)
                else "unreadable"
            )  # fmt: skip
    return found


def read_rows(project: Project, table: str) -> dict[str, dict[str, str]]:
    """A table of both datasets by the videos' paths."""
    rows = {}
    for name in CONFIG["datasets"]:
        path = project.folder / RESULTS / "datasets" / name / table
        with path.open(encoding="utf-8", newline="") as stream:
            rows |= {row["path"]: row for row in csv.DictReader(stream)}
    return rows


@pytest.fixture(scope="module", params=[SAMPLE, pytest.param(NAMES, marks=pytest.mark.soak)],
                ids=["sample", "all"])  # fmt: skip
def zoo(request, tmp_path_factory) -> Zoo:
    """The zoo after one run, with a home and a folder for temporary files of its own."""
    folder = tmp_path_factory.mktemp("zoo")
    project = copy_project(folder / "project")
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        fill(project, server.getsockname()[1], request.param)
        for variable, name in {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache"}.items():
            (folder / name).mkdir()
            patch.setenv(variable, str(folder / name))
        before = tree(folder)
        answers = [
            project.snakemake(
                "--configfile", f"{name}.yaml", "--", f"datasets/{name}/index.json", timeout=600
            )
            for name in CONFIG["datasets"]
        ]
        try:
            server.accept()[0].close()
            called = True
        except BlockingIOError:
            called = False
    answer = Answer(max(a.code for a in answers), "".join(a.text for a in answers))
    assert answer.code == 0, answer.text
    videos, refused = (read_rows(project, name) for name in ("videos.csv", "rejected.csv"))
    # Files that are no videos have a row for each suffix.
    rejected = {path: row for path, row in refused.items() if not row["id"].startswith("*")}
    assert refused.keys() - rejected.keys() == {"kinds/notes.txt", "odd/notes/notes.txt"}
    names = set(os.listdir(project.folder / VIDEOS / "names"))
    return Zoo(answer, videos, rejected, before, tree(folder), called, names, project.folder)


def check(zoo: Zoo, path: str, expected: Works | str | None) -> None:
    """Compare what became of one video with what is expected."""
    told = [line for line in zoo.told if f"d {path}: " in line[1]]
    row, refusal = zoo.videos.get(path), zoo.rejected.get(path)
    if expected is None:
        assert row is None and refusal is None and not told
    elif isinstance(expected, str):
        assert row is None and refusal is not None
        assert refusal["reason"].startswith(expected)
        stage = "split" if expected.startswith("too short") else "decode"
        assert told == [(stage, f"rejected {path}: {refusal['reason']}")]
    else:
        assert refusal is None and row is not None
        size = (int(row["width"]), int(row["height"]))
        assert (int(row["frames"]), size) == (expected.frames, expected.size)
        assert [text.split()[0] for _, text in told] == ["damaged"] * expected.damaged


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_files(zoo, name):
    check(zoo, f"kinds/{name}", KINDS[name][1])


def test_names_of_files(zoo):
    """Not every file system takes each name."""
    names = [name for name in NAMES if f"{name}.mp4" in zoo.names]
    assert len(names) >= len(SAMPLE) - 2
    for name in names:
        check(zoo, f"names/{NAMES[name]}.mp4", Works())


@pytest.mark.parametrize("name", FRAME_FOLDERS)
def test_frame_folders(zoo, name):
    check(zoo, name, FRAME_FOLDERS[name][1])


def truth(path: Path, most: int) -> np.ndarray:
    """The first frames of a video by the ffmpeg binary, or of a folder by Pillow, from outside."""
    if path.is_dir():
        files = sorted(path.glob("[!.]*[!.txt]"), key=lambda file: file.name)[:most]
        images = [ImageOps.exif_transpose(Image.open(file)) for file in files]
        return np.stack([np.asarray(image.convert("RGB")) for image in images])
    fields = "bwdif=send_frame," if path.stem == "interlaced" else ""
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "quiet", "-i", f"file:{path}",
               "-map", "0:V:0", "-fps_mode", "passthrough", "-frames:v", str(most), "-vf",
               f"{fields}scale=iw*sar:ih:flags={flags}",
               "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]  # fmt: skip
    found, frames = subprocess.run(command, stdout=subprocess.PIPE, timeout=60).stdout, []
    while found:
        width, height = map(int, found.split(b"\n", 2)[1].split())
        start = len(b"P6\n%d %d\n255\n" % (width, height))
        pixels = np.frombuffer(found, np.uint8, 3 * width * height, start)
        frames.append(pixels.reshape(height, width, 3))
        found = found[start + pixels.size :]
    return np.stack(frames)


def as_stored(frame: np.ndarray, side: int = 32) -> np.ndarray:
    """A frame whose shorter side became `side`, and its middle, by Pillow."""
    height, width = frame.shape[:2]
    wide = [round(length * side / min(height, width)) for length in (width, height)]
    image = Image.fromarray(frame).resize(wide, Image.Resampling.BICUBIC)
    left, top = ((length - side) // 2 for length in wide)
    return np.asarray(image.crop((left, top, left + side, top + side)), float)


@pytest.mark.parametrize("dataset", CONFIG["datasets"])
def test_both_entrances_give_the_truth(zoo, dataset):
    """Each file that works is read by `rsvp compare`, and decoded, as other programs show it."""
    home = zoo.folder / (VIDEOS if dataset == "zoo" else FOLDERS)
    frames = zoo.folder / RESULTS / "datasets" / dataset / "frames"
    stored = [
        read_column(index.parent, read_json(index)["parts"], KEY)
        for index in sorted(frames.glob("*/index.json"))
    ]
    names = [f"kinds/{name}" for name in KINDS] if dataset == "zoo" else FRAME_FOLDERS
    read, checked = ClipFolder(home).frames, 0
    for name in names:
        if not (row := zoo.videos.get(name)):
            continue
        expected = truth(home / name, 4)
        found = read(row["id"], 4)
        assert found.shape == expected.shape, name
        assert np.abs(found.astype(float) - expected).mean() < 1, name
        cached = stored[int(row["share"])][int(row["offset"]) :]
        for shown, frame in zip(expected, cached, strict=False):
            assert np.abs(as_stored(shown) - frame).mean() < 4, name
        checked += 1
    assert checked == sum(
        isinstance(e, Works) for _, e in (KINDS if dataset == "zoo" else FRAME_FOLDERS).values()
    )


def test_nothing_else_is_in_the_tables_or_on_the_terminal(zoo):
    count = len(KINDS) + len(zoo.names) + len(FRAME_FOLDERS)
    ignored = [e for _, e in (KINDS | FRAME_FOLDERS).values() if e is None]
    assert len(zoo.videos) + len(zoo.rejected) == count - len(ignored) > 60
    damaged = [e for _, e in KINDS.values() if isinstance(e, Works) and e.damaged]
    # The official lists divide copies of one video.
    leaks = [text for _, text in zoo.told if "are on two sides of the split" in text]
    assert len(leaks) == 1
    assert len(zoo.told) == len(zoo.rejected) + len(damaged) + len(leaks)
    assert "Traceback" not in zoo.answer.text


def test_nothing_is_written_outside_of_the_results(zoo):
    assert zoo.after == zoo.before


def test_no_name_ran_as_a_command(zoo):
    """Each would have made a file in the folder where it ran."""
    assert not list(Path(next(iter(zoo.before))).parent.rglob("PWNED"))


def test_no_file_reached_the_network(zoo):
    assert not zoo.called


def test_official_lists(zoo):
    """With Windows' line ends and slashes, names in another case, unknown and absent videos."""
    sides = {p: row["split"] for p, row in zoo.videos.items() if p.startswith("Handstand")}
    assert sides.pop(f"{HAND}_g01_c01") == "test"
    assert set(sides.values()) == {"train", "validation"}
    assert len(sides) == 5


DEMO = (ROOT / "config.yaml").read_text(encoding="utf-8")
BOMB = "".join(f" - &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
# Config files by kind: what stands in them, and what is said of them (None: they work).
CONFIG_FILES: dict[str, tuple[bytes | str, str | None]] = {
    "with a byte order mark": (b"\xef\xbb\xbf" + DEMO.encode(), None),
    "JSON with tabs": (json.dumps(yaml.safe_load(DEMO), indent="\t"), None),
    "anchors and merged keys": ("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {<<: *a}\n", None),
    "empty": ("", "keys and values are needed"),
    "a comment": ("# nothing yet\n", "keys and values are needed"),
    "a list": ("- datasets\n", "keys and values are needed"),
    "a word": ("datasets\n", "keys and values are needed"),
    "tabs": ("datasets:\n\tshapes: {}\n", "line 2: not valid JSON or YAML: found character '\\t'"),
    "an open bracket": ("datasets: [shapes\n", "not valid JSON or YAML: expected ',' or ']'"),
    "a key twice": (f"{DEMO}report: {{}}\n", "the key 'report' stands here twice"),
    "an inner key twice": (
        "compute: {threads: 1, device: cpu, threads: 2}",
        "the key 'threads'",
    ),
    "binary": (b"\x00\x01\xff\xfe" * 99, "not a text file in UTF-8"),
    "zero bytes": (b"report: \x00\n", "not valid JSON or YAML: "),
    "Latin-1": (b"report: {title: caf\xe9}\n", "not a text file in UTF-8"),
    "UTF-16": (DEMO.encode("utf-16"), "not a text file in UTF-8"),
    "nested too deeply": ("[" * 9999, "not valid JSON or YAML: "),
    "a number of 5000 digits": ("schema: " + "9" * 5000, "not valid JSON or YAML: "),
    "a date that is none": ("report: {title: 2026-99-99}", "not valid JSON or YAML: "),
    "Python in it": (
        "report: {title: !!python/object/apply:os.system [touch PWNED]}",
        "line 1: not valid JSON or YAML: could not determine a constructor",
    ),
    "a bomb": (f"report:\n title:\n - &a0 [x]\n{BOMB}", None),  # small, until it is printed
}


@pytest.mark.parametrize("kind", CONFIG_FILES)
def test_config_files(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    data, message = CONFIG_FILES[kind]
    Path("config.yaml").write_bytes(data.encode() if isinstance(data, str) else data)
    if message is None:
        read_config_file("config.yaml")
        return
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_config_file("config.yaml")
    assert re.fullmatch(r"config\.yaml: .{1,300}", str(caught.value))
    assert os.listdir() == ["config.yaml"]


# Some of them as Snakemake reads them, and the line on the terminal.
READ_BY_SNAKEMAKE = {
    "JSON with tabs": None,
    "a key twice": "rsvp: config.yaml: line ",
    "an open bracket": "rsvp: config.yaml: line 2: not valid JSON or YAML: expected ',' or ']'",
    "a bomb": "rsvp: config: report.title: expected text or a number, got [['x'], ",
}


@pytest.mark.parametrize("kind", READ_BY_SNAKEMAKE)
def test_config_files_as_snakemake_reads_them(project, kind):
    data, line = CONFIG_FILES[kind][0], READ_BY_SNAKEMAKE[kind]
    (project.folder / "config.yaml").write_bytes(data.encode() if isinstance(data, str) else data)
    answer = project.snakemake("-n", timeout=120)
    assert answer.code == (2 if line else 0), answer.text
    assert "Traceback" not in answer.text
    assert [error[: len(line or "")] for error in answer.errors] == ([line] if line else [])


@pytest.mark.parametrize("kind", ["missing", "a folder"])
def test_config_that_is_no_file(project, kind):
    (project.folder / "config.yaml").unlink()
    if kind == "a folder":
        (project.folder / "config.yaml").mkdir()
    answer = project.snakemake("-n", timeout=120)
    assert answer.code == 2
    assert "Traceback" not in answer.text
    (line,) = answer.errors
    assert line.startswith("rsvp: config.yaml: ") and "start snakemake in the folder of" in line


# Places of the results, with what is said of them; "videos" is the folder of videos.
PLACES = {
    "file": "a file, not a folder",
    "file/below": "Not a directory",
    "x" * 300: "File name too long",
    "circle": "Too many levels of symbolic links",
    "videos": "lies in the folder of the videos of datasets.mine",
    "videos/results": "lies in the folder of the videos",
    "link to videos/results": "lies in the folder of the videos",
}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[:30])
def test_impossible_results_folders(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "videos").mkdir()
    (tmp_path / "link to videos").symlink_to("videos")
    config = yaml.safe_load(DEMO) | {"results": place}
    config["datasets"]["mine"] = {"path": "videos"}
    config["autoencoders"]["rsvp"]["dataset"] = "mine"
    before = tree(tmp_path)
    with pytest.raises(UserError, match=PLACES[place]) as caught:
        Plan(config, str(tmp_path))
    assert re.fullmatch(r"config: results: .{1,300}", str(caught.value))
    assert tree(tmp_path) == before


def test_results_folder_that_is_not_writable(open_folder):
    """To somebody who is not root, to whom all folders are writable."""
    (open_folder / "results").mkdir(mode=0o555)
    config = yaml.safe_load(DEMO)
    assert "not writable" in said_to_another_user(lambda: Plan(config, str(open_folder)))
