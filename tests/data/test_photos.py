"""Photographs of many kinds, good and spoiled."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from labkit.data.photos import photos_in, read_photo, to_input
from labkit.data.readers import DataError
from labkit.figures.strips import as_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def halves() -> Image.Image:
    """A picture 60 wide and 40 high: red on the left, blue on the right."""
    image = Image.new("RGB", (60, 40), RED)
    image.paste(BLUE, (30, 0, 60, 40))
    return image


def near(image, at, colour, by=12):
    return np.abs(np.subtract(image.getpixel(at), colour)).max() <= by


def png_16_bit_rgb(colour, side=4):
    """The bytes of a PNG with 16 bits a channel, which Pillow reads but does not write."""
    row = b"\0" + struct.pack(">HHH", *colour) * side
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row * side)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_plain_photograph(tmp_path, halves):
    halves.save(tmp_path / "a.jpg", quality=95)
    photo = read_photo(str(tmp_path / "a.jpg"))
    assert (photo.mode, photo.size) == ("RGB", (60, 40))
    assert near(photo, (10, 20), RED) and near(photo, (50, 20), BLUE)


@pytest.mark.parametrize("orientation, red_at", [(3, (50, 20)), (6, (20, 10)), (8, (20, 50))])
def test_exif_rotation_is_applied(tmp_path, halves, orientation, red_at):
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves.save(tmp_path / "a.jpg", quality=95, exif=exif)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.size == ((60, 40) if orientation == 3 else (40, 60))
    assert near(photo, red_at, RED)


@pytest.mark.parametrize("mode, grey", [("L", 128), ("1", 255), ("LA", 128)])
def test_grey_photographs_become_rgb(tmp_path, mode, grey):
    Image.new("L", (8, 6), grey).convert(mode).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert photo.mode == "RGB" and photo.getpixel((3, 3)) == (grey,) * 3


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.mode == "RGB" and near(photo, (8, 8), RED)


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert [photo.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_16_bit_colour_is_scaled(tmp_path):
    (tmp_path / "a.png").write_bytes(png_16_bit_rgb((65535, 32768, 0)))
    assert near(read_photo(tmp_path / "a.png"), (2, 2), (255, 128, 0), by=1)


def test_transparent_places_become_white(tmp_path):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (2, 0, 4, 2))
    image.save(tmp_path / "palette.png", transparency=bytes([255, 0]))  # the blue one
    photo = read_photo(tmp_path / "palette.png")
    assert photo.getpixel((0, 0)) == RED and photo.getpixel((3, 0)) == WHITE

    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "rgba.png")
    assert read_photo(tmp_path / "rgba.png").getpixel((0, 0)) == WHITE


def test_the_first_frame_of_an_animation(tmp_path, halves):
    frames = [Image.new("RGB", (20, 20), BLUE), Image.new("RGB", (20, 20), WHITE)]
    first = Image.new("RGB", (20, 20), RED)
    first.save(tmp_path / "a.gif", save_all=True, append_images=frames, duration=50)
    photo = read_photo(tmp_path / "a.gif")
    assert photo.size == (20, 20) and near(photo, (10, 10), RED)


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (10, 20, 30)).save(tmp_path / "a.png")
    pixels = to_input(read_photo(tmp_path / "a.png"), 64)
    assert pixels.shape == (3, 64, 64)
    assert (pixels == np.array([10, 20, 30]).reshape(3, 1, 1)).all()


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg is missing"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "content", [b"", b"this is a text\n" * 50, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg") as caught:
        read_photo(tmp_path / "a.jpg")
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_photograph(tmp_path):
    with pytest.raises(DataError, match="is a folder, not a file"):
        read_photo(tmp_path)


@pytest.mark.parametrize(
    "name, message",
    [
        ("", "name of a photograph is empty"),
        (" ", "name of a photograph is empty"),
        ("https://x.org/a.jpg", "https://x.org/a.jpg is a web address"),
        (Path("http://x.org/a.jpg"), "http://x.org/a.jpg is a web address"),
        ("file:///home/a.jpg", "is a web address"),
        (Path("/dev/null"), "is not a file"),
    ],
)
def test_names_that_are_no_files(name, message):
    for reader in (read_photo, photos_in)[: 1 if name == Path("/dev/null") else 2]:
        with pytest.raises(DataError, match=message) as caught:
            reader(name)
        assert "remove" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_stands_for_the_photographs_in_it(tmp_path, halves):
    for name in ("b.JPG", "a.png", "c d.jpeg", ".hidden.jpg", "other"):
        halves.save(tmp_path / name, "PNG")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "more.jpg").mkdir()
    names = [path.name for path in photos_in(str(tmp_path))]
    assert names == ["a.png", "b.JPG", "c d.jpeg"]
    assert photos_in(tmp_path / "other") == [tmp_path / "other"]
    with pytest.raises(DataError, match="without photographs"):
        photos_in(tmp_path / "more.jpg")
    (tmp_path / "more.jpg" / "deeper.jpg").mkdir()
    with pytest.raises(DataError, match="without photographs"):
        photos_in(tmp_path / "more.jpg")
    with pytest.raises(FileNotFoundError, match="nothing is missing"):
        photos_in(tmp_path / "nothing")


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_heic_of_a_phone_is_read_and_turned_once(tmp_path, halves, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    frame = pillow_heif.from_pillow(halves)
    frame.save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    halves.save(tmp_path / "a.jpg", quality=95, exif=exif.tobytes())
    heic, jpeg = read_photo(tmp_path / "a.heic"), read_photo(tmp_path / "a.jpg")
    assert heic.mode == "RGB" and heic.size == jpeg.size
    assert near(heic, (5, 5), jpeg.getpixel((5, 5)))


def test_heic_is_known_by_its_content_in_a_program_that_did_nothing_else(shared, tmp_path):
    photo = tmp_path / "IMG_1.JPG"  # as some programs rename it
    photo.write_bytes((shared / "data/cases/photos/phone.heic").read_bytes())
    code = "import sys; from labkit.data.photos import read_photo as read;"
    code += "print(read(sys.argv[1]).size)"
    done = subprocess.run([sys.executable, "-c", code, photo], capture_output=True, text=True)
    assert done.stdout == "(640, 480)\n", done.stderr


def test_heic_without_its_package_names_it(tmp_path, halves, monkeypatch):
    pillow_heif.from_pillow(halves).save(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"a\.heic .*needs the package pillow-heif"):
        read_photo(tmp_path / "a.heic")


def in_mode(halves: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(halves, rgb, lab, outputMode="LAB")
    if mode in ("PA", "La", "RGBa"):
        return halves.convert({"PA": "P", "La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    return halves.convert(mode)


COLOURED = ["RGB", "P", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "PA", "RGBa", "RGBX"]
GREY = ["L", "LA", "La", "I", "F", "I;16"]


@pytest.mark.parametrize("mode", [*COLOURED, *GREY, "1"])
def test_a_picture_of_any_mode_is_what_its_file_would_be(halves, mode):
    image = in_mode(halves, mode)
    assert image.mode == mode
    colour = (76, 76, 76) if mode in GREY else (0, 0, 0) if mode == "1" else RED
    assert near(as_image(image), (10, 20), colour)
    pixels = to_input(image, 60)
    if mode != "1":
        assert np.abs(pixels[:, 30, 10].astype(int) - colour).max() <= 12


def test_numbers_of_wider_ranges(halves):
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    expected = np.arange(256).reshape(16, 16)
    for values in (ramp, ramp * 255, ramp * 65535, (ramp * 65535).astype(np.int32)):
        assert (np.asarray(as_image(Image.fromarray(values)))[..., 0] == expected).all()
    for wrong in (ramp - 1, ramp * 1e6, ramp * np.nan):
        with pytest.raises(DataError, match="its pixels range from"):
            to_input(Image.fromarray(wrong), 32)


def test_a_picture_that_was_opened_by_the_caller_is_turned_upright(tmp_path, halves):
    exif = Image.Exif()
    exif[0x0112] = 6
    halves.save(tmp_path / "a.jpg", quality=95, exif=exif)
    with Image.open(tmp_path / "a.jpg") as opened:
        upright = ImageOps.exif_transpose(opened)
        assert (to_input(opened, 32) == to_input(read_photo(tmp_path / "a.jpg"), 32)).all()
        assert (to_input(upright, 32) == to_input(opened, 32)).all()


def test_importing_labkit_leaves_pillows_warning_on(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
    code = (
        "import sys, labkit, PIL.Image; from labkit.data.photos import read_photo; "
        "PIL.Image.MAX_IMAGE_PIXELS = 1000; print(read_photo(sys.argv[1]).size)"
    )
    args = [sys.executable, "-c", code, tmp_path / "large.png"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=300)
    assert done.stdout == "(40, 40)\n"
    assert "DecompressionBombWarning" in done.stderr


@pytest.mark.parametrize("kind", ["jpg", "png", "gif", "webp"])
def test_truncated(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_photo(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_damage_of_any_kind_is_a_data_error_or_nothing(tmp_path, halves, kind):
    path = tmp_path / f"a.{kind}"
    halves.save(path)
    whole, random = path.read_bytes(), np.random.default_rng(1)
    outcomes = set()
    for _ in range(150):
        spoiled = bytearray(whole)
        for at in random.integers(0, len(whole), 4):
            spoiled[at] = random.integers(256)
        path.write_bytes(spoiled)
        try:
            outcomes.add(read_photo(path).mode)
        except DataError:
            outcomes.add("DataError")
    assert outcomes == {"RGB", "DataError"}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_too_large_to_be_a_photograph(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")  # Pillow only warns of it
    Image.new("RGB", (400, 400)).save(tmp_path / "huge.png")
    assert read_photo(tmp_path / "large.png").size == (40, 40)
    with pytest.raises(DataError, match=r"huge\.png"):
        read_photo(tmp_path / "huge.png")


def test_squashed_so_that_fractions_stay(halves):
    pixels = to_input(halves.resize((300, 50)), 64)
    assert pixels.shape == (3, 64, 64) and pixels.dtype == np.uint8
    assert (pixels[0, :, :30] > 250).all() and (pixels[2, :, 34:] > 250).all()
    assert (pixels[2, :, :30] < 5).all() and (pixels[0, :, 34:] < 5).all()


def test_shrinking_averages_and_does_not_pick():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = to_input(stripes, 32)
    assert pixels.min() > 120 and pixels.max() < 135


def test_an_array_and_the_same_image_give_the_same(halves):
    assert (to_input(np.asarray(halves), 32) == to_input(halves, 32)).all()
    exact = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (to_input(exact, 32) == exact.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("shape, kind", [((8, 8), "u1"), ((8, 8, 3), "f4"), ((0, 8, 3), "u1")])
def test_arrays_of_another_kind(shape, kind):
    with pytest.raises(DataError, match=r"\(H, W, 3\) of uint8"):
        to_input(np.zeros(shape, kind), 32)
