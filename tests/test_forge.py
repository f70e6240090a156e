"""The files for GitHub, Binder, containers and pre-commit: they parse, and what they call exists.

Their schemas are checked by hand, with check-jsonschema: see CONTRIBUTING.md.
"""

import json
import os
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from test_frame import ROOT, read

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
YAMLS = [*GITHUB.rglob("*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]
TARGETS = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


def jobs(path: Path) -> dict:
    return yaml.safe_load(path.read_text("utf-8"))["jobs"]


def steps(path: Path) -> list[dict]:
    return [step for job in jobs(path).values() for step in job["steps"]]


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_the_files_parse(path):
    assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)


def test_what_workflows_and_containers_make_are_targets():
    texts = [step.get("run", "") for path in WORKFLOWS for step in steps(path)]
    texts.append(read(".devcontainer/devcontainer.json"))
    called = [name for text in texts for name in re.findall(r"\bmake ([a-z]+)", text)]
    assert {"test", "lint", "book", "dist", "install", "cpu"} <= set(called) <= TARGETS


def test_the_help_of_make_names_every_target_and_they_are_phony():
    shown = set(re.findall(r'@echo "make ([a-z]+)', read("Makefile")))
    phony = set(re.search(r"^\.PHONY: (.*)", read("Makefile"), re.MULTILINE)[1].split())
    assert shown == TARGETS - {"help"} and phony == TARGETS


def test_each_job_ends_has_few_rights_and_names_versions_of_what_it_uses():
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text("utf-8"))["permissions"] == {"contents": "read"}
        assert all(job["timeout-minutes"] <= 120 for job in jobs(path).values())
        for step in steps(path):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[\w./]+", step.get("uses", "a/b@v1"))
            # what somebody else wrote, a branch's name for example, goes through `env`
            assert "${{" not in step.get("run", ""), step
    assert len(WORKFLOWS) == 3


def test_the_matrix_is_of_the_pythons_that_the_package_claims():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    matrix = jobs(GITHUB / "workflows" / "tests.yml")["tests"]["strategy"]["matrix"]
    claimed = [line.rpartition(" ")[2] for line in project["classifiers"] if "3." in line]
    assert matrix["python"] == claimed == ["3.11", "3.12", "3.13", "3.14"]
    assert all(SpecifierSet(project["requires-python"]).contains(one) for one in claimed)
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]


def test_a_report_of_an_error_asks_for_the_doctor():
    forms = {path.stem: yaml.safe_load(path.read_text("utf-8"))
             for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml")}  # fmt: skip
    assert forms.pop("config") == {"blank_issues_enabled": False}
    assert set(forms) == {"bug", "question"}
    fields = {field.get("id"): field for field in forms["bug"]["body"]}
    assert "`labkit doctor`" in fields["doctor"]["attributes"]["label"]
    assert fields["doctor"]["validations"] == {"required": True}


def test_dependabot_watches_folders_that_exist():
    for one in yaml.safe_load(read(".github/dependabot.yml"))["updates"]:
        assert (ROOT / one["directory"].strip("/")).is_dir()


def test_pre_commit_runs_tests_that_exist_at_versions_that_the_project_allows():
    config = yaml.safe_load(read(".pre-commit-config.yaml"))
    by_repo = {repo["repo"].rpartition("/")[2]: repo for repo in config["repos"]}
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"])
               for name, repo in by_repo.items() if name != "local")  # fmt: skip
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]["tests"]
    (ruff,) = [one for one in map(Requirement, extras) if one.name == "ruff"]
    assert ruff.specifier.contains(by_repo["ruff-pre-commit"]["rev"].removeprefix("v"))
    (labs,) = by_repo["local"]["hooks"]
    file = re.search(r"tests/\S+\.py", labs["entry"])[0]
    for word in re.search(r'-k "(.*)"', labs["entry"])[1].split(" or "):
        assert re.search(rf"^def test_\w*{word}\w*\(", read(file), re.MULTILINE)


def test_what_the_image_copies_exists_and_is_not_ignored():
    lines = read("Dockerfile").splitlines()
    copied = [name for line in lines if line.startswith("COPY")
              for name in line.split()[1:-1] if not name.startswith("--")]  # fmt: skip
    listed = [line for line in read(".dockerignore").splitlines() if line and line[0] != "#"]
    kept = {line.removeprefix("!") for line in listed if line[0] == "!"}
    assert listed[0] == "*" and kept == set(copied)
    assert all((ROOT / name).exists() for name in copied)
    assert not [name for name in copied if fnmatch(name, ".*")]
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == ["student"] and any("useradd" in line and "student" in line for line in lines)
    commands = [line for line in lines if line.startswith("CMD")]
    assert json.loads(commands[0].removeprefix("CMD "))[:2] == ["jupyter", "lab"]


def test_binder_and_the_devcontainer_have_what_the_labs_need():
    lines = read(".binder/requirements.txt").splitlines()
    assert "--editable .[labs]" in lines and os.access(ROOT / ".binder" / "postBuild", os.X_OK)
    version = read(".binder/runtime.txt").strip().removeprefix("python-")
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    assert json.loads(read(".devcontainer/devcontainer.json"))["image"].endswith(version)


def test_security_says_how_to_report_without_an_address_that_nobody_reads():
    page = read("SECURITY.md")
    assert "Report a vulnerability" in page and "labkit doctor" in page
    assert not re.search(r"\S+@\S+\.\w+", page)
