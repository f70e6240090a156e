"""The figure of a calibration: how often captions are wrong, and how often they are said to be."""

from matplotlib.figure import Figure
from scipy.stats import binomtest

from labkit.evaluation.calibrate import Reliability
from labkit.figures.strips import Picture


def reliability_curve(found: Reliability) -> Figure:
    """Draw the share of wrong captions against the share predicted, by tenths of the captions.

    The line is where both are equal. Bars are 95% intervals (Wilson's) of the share found.

    Args:
        found: What `labkit.evaluation.calibrate.calibrate` returns.

    Returns:
        The figure, to display or to save with `savefig`.
    """
    figure = Picture(figsize=(4.5, 4.5), layout="constrained")
    panel = figure.subplots()
    count = round(found.captions / len(found.predicted))
    tests = [binomtest(round(share * count), count) for share in found.observed]
    bars = [test.proportion_ci(method="wilson") for test in tests]
    below = [share - low for share, (low, _) in zip(found.observed, bars, strict=True)]
    above = [high - share for share, (_, high) in zip(found.observed, bars, strict=True)]
    top = max(*found.predicted, *(high for _, high in bars)) * 1.05
    panel.plot([0, top], [0, top], color="0.6", linewidth=1)
    panel.errorbar(found.predicted, found.observed, [below, above], fmt="o", capsize=3)
    panel.axhline(found.wrong, color="0.6", linestyle=":", linewidth=1)
    panel.set(xlim=(0, top), ylim=(0, top), xlabel="predicted share of wrong captions",
              ylabel="observed share")  # fmt: skip
    panel.grid(alpha=0.3)
    return figure
