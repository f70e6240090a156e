"""How sure a captioner is: from the score of a caption to how often such a caption is wrong."""

import math
from pathlib import Path
from typing import Annotated

from labkit.console import complain
from labkit.files import read_json
from labkit.validation import checked, from_file, means

FILE = "calibration.json"


@checked()
class Calibration:
    """The share of wrong captions among those alike, p = sigma(intercept + slope score + w e).

    e is what a word detector says of the caption's words (`labkit.model.captions.Caption`), and w
    its weight, `evidence`; a model without a detector has none.

    It was fitted to the captions of a split with references (`labkit.evaluation.calibrate`). It
    holds for captions generated in the same way, and for images like those of the split.

    Example:
        >>> from labkit.model.calibration import Calibration
        >>> calibration = Calibration(
        ...     intercept=-3.0, slope=-1.0, captions=500, wrong=0.1, decoding="greedy",
        ...     weights="")
        >>> round(calibration.share_wrong(-2.0), 2)
        0.27
    """

    intercept: Annotated[float, means("the logit of the share at score 0")]
    slope: Annotated[float, means("how it changes with the score; below 0, as a rule")]
    evidence: Annotated[float, means("how it changes with the evidence for its words")] = 0.0
    captions: Annotated[int, means("how many captions it was fitted to", ge=1)]
    wrong: Annotated[float, means("the share of them that was wrong", ge=0, le=1)]
    decoding: Annotated[str, means("how the captions were generated, in words")]
    weights: Annotated[str, means("the checksum of the model's weights")]

    def share_wrong(self, score: float, evidence: float | None = None) -> float:
        """How many captions of this score, and with this evidence, are wrong, 0 to 1."""
        logit = self.intercept + self.slope * score + self.evidence * (evidence or 0.0)
        return 0.5 * (1 + math.tanh(logit / 2))  # the sigmoid, which overflows nowhere

    @classmethod
    def load(cls, folder: Path, weights: str) -> "Calibration | None":
        """Read the calibration of a model's folder; None if it has none.

        One that was made with weights of another checksum is not used, and standard error says so:
        the model may have been trained further since.

        Raises:
            ValueError: The file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            found = from_file(cls, read_json(path), path)
        except ValueError as error:
            raise ValueError(f"{error}: run labkit calibrate --overwrite") from None
        if found.weights == weights:
            return found
        complain(f"{path} was measured with other weights: run labkit calibrate --overwrite again")
        return None
