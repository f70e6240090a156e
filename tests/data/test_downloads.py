"""Downloads: from a server on loopback that can break the line, forget ranges, or lie."""

import functools
import hashlib
import http.server
import io
import json
import random
import threading
import zipfile

import pytest

from labkit.data import downloads
from labkit.data.downloads import CHUNK, Archive, DownloadError, download, fetch
from labkit.data.readers import read_coco, read_flickr8k
from labkit.files import LOCK, only_one


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the server's `files`, by the last part of the path, with Range."""

    def do_GET(self):
        server = self.server
        name = self.path.rsplit("/", 1)[-1]
        server.asked.append((name, self.headers.get("Range")))
        if server.errors:
            return self.send_error(server.errors.pop(0))
        if name not in server.files:
            return self.send_error(404)
        body, start = server.files[name], 0
        if self.headers.get("Range") and server.ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = server.cuts.pop(0) if server.cuts else len(body)
        self.wfile.write(body[start : start + stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.cuts, server.errors = {}, [], [], []
        server.ranges = True
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


def make_zip(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, content in files.items():
            pack.writestr(name, content)
    return buffer.getvalue()


PHOTOS = {f"photos/{i}.jpg": random.Random(i).randbytes(100_000) for i in range(5)}


def archive(server, files, gives=("photos",), name="photos.zip", md5=None, into=""):
    body = make_zip(files)
    server.files[name] = body
    md5 = md5 or hashlib.md5(body).hexdigest()
    return Archive(f"{server.url}/somewhere/{name}", md5, gives, into)


def left_in(folder):
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    return sorted(name for name in files if not name.endswith(LOCK))


quiet = functools.partial(fetch, progress=False)


def test_fetches_unpacks_and_tidies(server, tmp_path):
    one = archive(server, {**PHOTOS, "__MACOSX/photos/._0.jpg": "junk", "readme": "no"})
    folder = quiet([one], tmp_path / "new" / "folder")
    assert left_in(folder) == sorted(PHOTOS)
    assert (folder / "photos/3.jpg").read_bytes() == PHOTOS["photos/3.jpg"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    one = archive(server, PHOTOS)
    quiet([one], tmp_path)
    quiet([one], tmp_path)
    assert len(server.asked) == 1


def test_what_a_killed_run_left_behind_is_removed(server, tmp_path):
    """It was killed at the end, after all files had their places."""
    one = archive(server, PHOTOS)
    quiet([one], tmp_path)
    (tmp_path / "photos.zip.labkit-part").write_bytes(server.files["photos.zip"])
    (tmp_path / ".photos.zip.unpacking").mkdir()
    (tmp_path / ".photos.zip.unpacking" / "readme").touch()
    quiet([one], tmp_path)
    assert left_in(tmp_path) == sorted(PHOTOS) and len(server.asked) == 1


def test_a_broken_line_is_taken_up_where_it_broke(server, tmp_path):
    one = archive(server, PHOTOS)
    server.cuts = [2 * CHUNK, CHUNK + 9]
    quiet([one], tmp_path)
    starts = [f"bytes={n * CHUNK}-" for n in (2, 3)]
    assert [r for _, r in server.asked] == [None, *starts]
    assert left_in(tmp_path) == sorted(PHOTOS)


def test_a_later_run_resumes_from_the_part(server, tmp_path):
    one = archive(server, PHOTOS)
    server.cuts = [2 * CHUNK] + [0] * downloads.TRIES
    with pytest.raises(DownloadError, match=r"131,072 bytes.*run this again"):
        quiet([one], tmp_path)
    assert left_in(tmp_path) == ["photos.zip.labkit-part"]
    server.asked.clear()
    quiet([one], tmp_path)
    assert server.asked == [("photos.zip", f"bytes={2 * CHUNK}-")]
    assert left_in(tmp_path) == sorted(PHOTOS)


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    one = archive(server, PHOTOS)
    server.ranges, server.cuts = False, [150_000]
    quiet([one], tmp_path)
    assert left_in(tmp_path) == sorted(PHOTOS)


def test_a_whole_part_needs_no_more_bytes(server, tmp_path):
    one = archive(server, PHOTOS)
    (tmp_path / "photos.zip.labkit-part").write_bytes(server.files["photos.zip"])
    quiet([one], tmp_path)
    assert left_in(tmp_path) == sorted(PHOTOS)


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    one = archive(server, PHOTOS, md5="0" * 32)
    with pytest.raises(DownloadError, match=r"photos\.zip gave a file whose checksum is not") as e:
        quiet([one], tmp_path)
    assert "\n" not in str(e.value)
    assert left_in(tmp_path) == []


def test_a_wrong_part_does_not_spoil_the_next_run(server, tmp_path):
    one = archive(server, PHOTOS)
    (tmp_path / "photos.zip.labkit-part").write_bytes(b"of another file")
    with pytest.raises(DownloadError, match="checksum"):
        quiet([one], tmp_path)
    quiet([one], tmp_path)
    assert left_in(tmp_path) == sorted(PHOTOS)


@pytest.mark.parametrize("path", ["../evil.txt", "photos/../../evil.txt", "/tmp/evil.txt"])
def test_a_zip_that_points_outside_is_refused(server, tmp_path, path):
    one = archive(server, {**PHOTOS, path: "evil"})
    folder = tmp_path / "in"
    with pytest.raises(DownloadError, match="points outside"):
        quiet([one], folder)
    assert left_in(tmp_path) == ["in/photos.zip.labkit-part"]


def test_a_zip_with_damaged_bytes_is_not_half_unpacked(server, tmp_path):
    body = bytearray(make_zip(PHOTOS))
    body[350_000] ^= 1  # in the fourth photograph: only the zip's own CRC can tell
    server.files["photos.zip"] = bytes(body)
    one = Archive(f"{server.url}/photos.zip", hashlib.md5(body).hexdigest(), ("photos",))
    with pytest.raises(DownloadError, match=r"photos\.zip.* is damaged"):
        quiet([one], tmp_path)
    assert left_in(tmp_path) == ["photos.zip.labkit-part"]


def test_a_zip_without_what_it_should_give(server, tmp_path):
    one = archive(server, {"other/1.jpg": "x"})
    with pytest.raises(DownloadError, match="holds no photos"):
        quiet([one], tmp_path)
    assert left_in(tmp_path) == ["photos.zip.labkit-part"]


def test_a_zip_put_there_by_hand_is_used_and_stays(server, tmp_path):
    one = archive(server, PHOTOS)
    (tmp_path / "photos.zip").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="not the file expected"):
        quiet([one], tmp_path)
    assert (tmp_path / "photos.zip").read_bytes() == b"something else"
    (tmp_path / "photos.zip").write_bytes(server.files["photos.zip"])
    quiet([one], tmp_path)
    assert server.asked == []
    assert left_in(tmp_path) == sorted([*PHOTOS, "photos.zip"])


def test_the_users_own_files_stay(server, tmp_path):
    """A browser's half of the same file, and a file that the archive would give, too."""
    one = archive(server, {**PHOTOS, "notes.txt": "theirs"}, gives=("photos", "notes.txt"))
    (tmp_path / "photos.zip.part").write_bytes(b"half of it, by a browser")
    (tmp_path / "notes.txt").write_text("mine")
    quiet([one], tmp_path)
    assert (tmp_path / "photos.zip.part").read_bytes() == b"half of it, by a browser"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_two_downloads_into_one_folder(server, tmp_path):
    with only_one(tmp_path), pytest.raises(FileExistsError, match="another process"):
        quiet([archive(server, PHOTOS)], tmp_path)


def test_server_errors(server, tmp_path):
    one = archive(server, PHOTOS)
    server.errors = [503, 500]
    quiet([one], tmp_path)
    assert left_in(tmp_path) == sorted(PHOTOS)
    with pytest.raises(DownloadError, match="404"):
        quiet([Archive(f"{server.url}/none.zip", "0" * 32, ("none",))], tmp_path)


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:1/a\.zip cannot be downloaded.*network"):
        quiet([Archive("http://127.0.0.1:1/a.zip", "0" * 32, ("a",))], tmp_path)
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        quiet([Archive("no address", "0" * 32, ("a",))], tmp_path)


def test_a_mirror_is_asked_instead(server, tmp_path):
    one = archive(server, PHOTOS)
    away = Archive("https://nowhere.invalid/photos.zip", one.md5, one.gives)
    quiet([away], tmp_path, mirror=f"{server.url}/mirror/")
    assert left_in(tmp_path) == sorted(PHOTOS)


def test_the_bar_shows_bytes(server, tmp_path, capsys):
    fetch([archive(server, PHOTOS)], tmp_path)
    assert "photos.zip: 100%" in capsys.readouterr().err


def test_unknown_data_set(tmp_path):
    with pytest.raises(ValueError, match="flickr8k, coco"):
        download("imagenet", tmp_path)


def serve_small(server, monkeypatch, dataset, contents):
    """Let a data set's own archives stand, but with the checksums of small zips served here."""
    small = []
    for known in downloads.DATASETS[dataset]:
        files = contents[known.name]
        small.append(archive(server, files, known.gives, known.name, into=known.into))
    monkeypatch.setitem(downloads.DATASETS, dataset, tuple(small))


def test_flickr8k_downloaded_is_what_its_reader_reads(server, tmp_path, monkeypatch):
    lists = {f"Flickr_8k.{s}Images.txt": f"{s}.jpg\n" for s in ("train", "dev", "test")}
    token = "".join(f"{s}.jpg#0\tA dog .\n" for s in ("train", "dev", "test"))
    text = {"Flickr8k.token.txt": token, **lists, "readme.txt": "x", "__MACOSX/._readme.txt": "x"}
    photos = {f"Flicker8k_Dataset/{s}.jpg": b"x" for s in ("train", "dev", "test")}
    contents = {"Flickr8k_text.zip": text, "Flickr8k_Dataset.zip": photos}
    serve_small(server, monkeypatch, "flickr8k", contents)
    folder = download("flickr8k", tmp_path, progress=False)
    assert [record.split for record in read_flickr8k(folder)] == ["train", "dev", "test"]


def test_coco_downloaded_is_what_its_reader_reads(server, tmp_path, monkeypatch):
    def captions(number):
        notes = [{"image_id": number, "id": 1, "caption": "A dog."}]
        return json.dumps({"images": [{"id": number, "file_name": "a.jpg"}], "annotations": notes})

    notes = {
        "annotations/captions_train2014.json": captions(1),
        "annotations/captions_val2014.json": captions(2),
        "annotations/instances_val2014.json": "{}",
    }
    contents = {
        "annotations_trainval2014.zip": notes,
        "train2014.zip": {"train2014/a.jpg": "x"},
        "val2014.zip": {"val2014/a.jpg": "x"},
    }
    serve_small(server, monkeypatch, "coco", contents)
    folder = download("coco", tmp_path, progress=False)
    assert [record.split for record in read_coco(folder)] == ["train", "dev"]
    assert "annotations/instances_val2014.json" not in left_in(folder)
