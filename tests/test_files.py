"""Files and folders: nothing of the user's is overwritten, and one process writes a folder."""

import errno
import gc
import os
import subprocess
import sys

import pytest

from labkit.files import (
    atomic_write,
    free_name,
    no_garbage_collection,
    only_one,
    outputs,
    own_folder,
    read_json,
    write_json,
    write_new,
)


def test_a_new_file_never_takes_the_place_of_another(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("mine")
    with pytest.raises(FileExistsError), atomic_write(path, new=True) as part:
        part.write_text("other")
    assert path.read_text() == "mine"
    with atomic_write(tmp_path / "new.txt", new=True) as part:
        part.write_text("new")
    assert sorted(os.listdir(tmp_path)) == ["mine.txt", "new.txt"]


def test_a_new_file_is_never_empty_under_its_name(tmp_path, monkeypatch):
    """Stopped before it has its name, it has none; also where the disk has no links."""
    def stopped(*_):
        raise KeyboardInterrupt

    path = tmp_path / "new.txt"
    monkeypatch.setattr(os, "replace", stopped)
    monkeypatch.setattr(os, "link", stopped)
    with pytest.raises(KeyboardInterrupt), atomic_write(path, new=True) as part:
        part.write_text("new")
    assert not os.listdir(tmp_path)
    monkeypatch.undo()

    def no_links(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with atomic_write(path, new=True) as part:
        part.write_text("new")
    with pytest.raises(FileExistsError, match=r"new\.txt"), atomic_write(path, new=True) as part:
        part.write_text("other")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["new.txt"]


def test_outputs_are_seen_before_the_work(tmp_path):
    mine = tmp_path / "mine.json"
    outputs(mine, None, tmp_path / "made" / "scores.json")
    assert (tmp_path / "made").is_dir() and not mine.exists()
    mine.write_text("{}")
    with pytest.raises(FileExistsError, match="--overwrite"):
        outputs(mine)
    outputs(mine, overwrite=True)
    with pytest.raises(OSError, match="is a folder"):
        outputs(tmp_path)
    with pytest.raises(OSError, match=r"mine\.json is no folder"):
        outputs(mine / "scores.json")
    with pytest.raises(ValueError, match="asked for twice"):
        outputs(tmp_path / "a.json", tmp_path / "made" / ".." / "a.json")


def test_a_folder_of_other_files_is_refused(tmp_path):
    assert own_folder(tmp_path / "new").is_dir()
    (tmp_path / ".hidden").touch()
    own_folder(tmp_path / "new")
    (tmp_path / "letter.txt").touch()
    with pytest.raises(FileExistsError, match=r"not labkit's: name a new folder"):
        own_folder(tmp_path, "config.json")
    (tmp_path / "config.json").touch()
    own_folder(tmp_path, "config.json")


def test_one_process_writes_a_folder(tmp_path):
    """A real second process; its lock ends with it, also when it is killed."""
    code = "import sys; from labkit.files import only_one\n"
    code += "with only_one(sys.argv[1]): print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(FileExistsError, match="another process"), only_one(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate(timeout=60)
    with only_one(tmp_path), pytest.raises(FileExistsError), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_free_name_is_found(tmp_path):
    names = []
    for _ in range(3):
        path = free_name(tmp_path, "a.b", ".png")
        path.touch()
        names.append(path.name)
    assert names == ["a.b.png", "a.b-2.png", "a.b-3.png"]


def test_what_is_no_ordinary_file_is_never_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for path in (tmp_path / "link", "/dev/null"):
        with pytest.raises(OSError, match="exists"):
            outputs(path, overwrite=True)


def test_a_mark_is_made_and_found(tmp_path):
    own_folder(tmp_path / "new", ".labkit-demo")
    (tmp_path / "new" / "index.html").touch()
    own_folder(tmp_path / "new", ".labkit-demo")
    with pytest.raises(FileExistsError, match="not labkit's"):
        own_folder(tmp_path / "new", ".labkit-compare")


def test_a_name_that_is_too_long_is_cut_and_no_letter_in_two(tmp_path):
    for stem, letter in (("n" * 300, "n"), ("日" * 100, "日")):
        paths = [write_new(tmp_path, stem, ".png", b"x") for _ in range(3)]
        assert [path.stem.strip(letter) for path in paths] == ["", "-2", "-3"]
        assert all(240 < len(os.fsencode(path.name)) <= 255 for path in paths)
        assert all(path.read_bytes() == b"x" for path in paths)


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path):
    """Processes that all see the same name free."""
    code = "import sys; from labkit.files import write_new\n"
    code += "for k in range(40): write_new(sys.argv[1], 'a', '.txt', sys.argv[2].encode())"
    programs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(k)]) for k in range(3)
    ]
    assert [program.wait(120) for program in programs] == [0, 0, 0]
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == sorted("012" * 40)


def test_json_with_a_surrogate_alone_is_written_and_read(tmp_path):
    value = {"name": "bad\udcff.jpg", "text": "日本 ü \\"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "日本 ü" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", {}, new=True)
    assert read_json(tmp_path / "a.json") == value


def test_what_a_command_reads_is_never_an_output(tmp_path):
    (tmp_path / "run").mkdir()
    config, captions = tmp_path / "run" / "config.json", tmp_path / "captions.json"
    for path in (config, captions):
        path.write_text("{}")
        with pytest.raises(FileExistsError, match="is read by this command"):
            outputs(path, overwrite=True, inputs=[tmp_path / "run", captions, None])
    outputs(tmp_path / "run" / "scores.json", overwrite=True, inputs=[tmp_path / "run"])


def test_json_nested_too_deep_is_damaged(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"deep\.json is damaged"):
        read_json(path)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_afterwards_as_before(enabled):
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(OSError, match="damaged"), no_garbage_collection():
            assert not gc.isenabled()
            raise OSError("damaged")
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if before else gc.disable()
