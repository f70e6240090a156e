"""The command that scores people's captions, and a model's beside them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from labkit.cli.store import Overwrite
from labkit.files import outputs, write_json

app = typer.Typer()


@app.command()
def people(
    references: Annotated[Path, Argument(help="A store, or a captions file in any format.")],
    captions: Annotated[list[Path] | None, Argument(help="Generated captions, to compare.")] = None,
    split: Annotated[str, Option(help="The split of a store.")] = "dev",
    json: Annotated[Path | None, Option(help="Write the scores of each turn to this file.")] = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Score one person's caption against the others'.

    Each human caption of an image is scored against its others in turn, and so are generated
    captions. The table has the mean and the standard deviation over the turns.

    Example: labkit people stores/flickr8k captions.json
    """
    from labkit.data.records import DataReport
    from labkit.evaluation.people import score_people

    captions, report = captions or [], DataReport()
    outputs(json, overwrite=overwrite, inputs=(references, *captions))
    found = score_people(references, captions, split, report)
    if report:
        print(report, file=sys.stderr)
    if found.left_out:
        also = " or no generated one" if captions else ""
        count = f"{found.left_out} of {found.left_out + found.images} images"
        print(f"left out, with one human caption{also}: {count}", file=sys.stderr)
    print(found.as_markdown())
    if json:
        write_json(json, asdict(found), new=not overwrite)
