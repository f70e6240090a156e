"""Write what the book's pages need and the repository does not hold, before they are built.

    python book/prepare.py

This makes book/_static/tell/ anew: the captioner of the page 'Try it', with its models, and the
viewer with which the front page begins.
"""

import shutil
from pathlib import Path

from labkit import AttentionViewer, Captioner
from labkit.export.browser import export_to_browser
from labkit.export.examples import example_photo

FOLDER = Path(__file__).parent / "_static" / "tell"
MODELS = ("flickr8k-soft", "flickr8k-hard")
ALT = "A man in a dark coat looks into a camera on a tripod, on a lawn in a city."


def first_viewer() -> str:
    """The viewer of the front page, a photograph by Lav Varshney (CC0)."""
    photo = example_photo("camera.png")
    if photo is None:
        raise SystemExit("the front page needs scikit-image: pip install -e '.[book]'")
    caption = Captioner.from_pretrained(MODELS[0]).caption(photo, num_beams=5)
    return AttentionViewer(photo, {"soft": caption}, alt=ALT)._repr_html_()


def main() -> None:
    """Make the folder anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    export_to_browser(MODELS, FOLDER)
    viewer = f'<div class="moving-viewer">\n{first_viewer()}\n</div>\n'
    (FOLDER / "first-viewer.html").write_text(viewer, encoding="utf-8")


if __name__ == "__main__":
    main()
