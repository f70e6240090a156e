"""Small data sets in the layouts in which people hold them; the photographs are colours."""

import json
from pathlib import Path

from PIL import Image

NAMES = [f"10{n:02}_ab.jpg" for n in range(12)]


def photo(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade * 20 % 256, 255 - shade, 99)).save(path)
    return path


def photos(folder: Path, names=NAMES) -> None:
    for shade, name in enumerate(names):
        photo(folder / name, shade)


def text(path: Path, content: str | bytes | list | dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list | dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def coco(root: Path, split: str, ids, name="{:012}.jpg", folder=None, shade=0) -> Path:
    """Write a split of COCO's form, with two captions an image."""
    images = [{"id": n, "file_name": name.format(int(n))} for n in ids]
    for image in images:
        photo((folder or root / split) / image["file_name"], int(image["id"]) + shade)
    notes = [{"id": 10 * int(n) + k, "image_id": n, "caption": f"{split}: {k} dogs run by {n}"}
             for n in ids for k in range(2)]  # fmt: skip
    return text(root / f"annotations/captions_{split}.json",
                {"images": images, "annotations": notes})  # fmt: skip


def karpathy(path: Path, entries: list[dict]) -> Path:
    sentences = [{"raw": "A dog runs."}, {"raw": "The dog."}]
    return text(path, {"images": [{"split": "train", "sentences": sentences} | e for e in entries]})


def kaggle8k(root: Path, folder="Images", name="captions.txt") -> Path:
    photos(root / folder)
    rows = [f'{n},A dog {k} runs .\n{n},"A dog, a ""big"" cat, {k}"\n' for k, n in enumerate(NAMES)]
    text(root / name, "image,caption\n" + "".join(rows))
    return root


def kaggle30k(root: Path) -> Path:
    photos(root / "flickr30k_images/flickr30k_images")
    rows = [f"{name}| {k}| Dog {k} runs ." for name in NAMES for k in range(5)]
    rows[4] = f"{NAMES[0]}| 4   A dog runs across the grass ."
    content = "image_name| comment_number| comment\n" + "\n".join(rows) + "\n"
    text(root / "flickr30k_images/results.csv", content)
    return root
