"""JupyterLab itself, in a real browser: a lab is opened, run from top to bottom, and looked at."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from browsing import PATIENCE, open_tab

ROOT = Path(__file__).parents[2]
LAB = "00_first_caption"
SETTINGS = {  # nothing is asked from outside
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A learner's copy of the lab, with the outputs that are stored, which nobody trusts yet."""
    folder = tmp_path_factory.mktemp("labs")
    shutil.copy(ROOT / "labs" / f"{LAB}.py", folder)
    stored = nbformat.read(ROOT / "labs" / f"{LAB}.ipynb", 4)
    for cell in code_cells(stored):
        cell.execution_count = None  # so that a number in the file is of the run below
    nbformat.write(stored, folder / f"{LAB}.ipynb")
    return folder


def code_cells(notebook) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def jupyterlab(folder, tmp_path_factory, browser):
    """The address of a JupyterLab that keeps all its files in a folder of its own."""
    home = tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    own = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.port=0", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=os.environ | own, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        facts = wait_for_server(server, Path(own["JUPYTER_RUNTIME_DIR"]), home / "log")
        yield f"{facts['url']}lab/tree/{LAB}.ipynb?token={facts['token']}"
    finally:
        server.terminate()
        try:
            server.wait(60)
        finally:
            server.kill()


def wait_for_server(server, runtime: Path, log: Path) -> dict:
    """What a server that has begun says of itself."""
    for _ in range(PATIENCE // 100):
        if server.poll() is not None:
            break
        for file in runtime.glob("jpserver-*.json"):
            return json.loads(file.read_text(encoding="utf-8"))
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not begin:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def tab(jupyterlab, browser):
    """A tab in which the lab is open."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    tab, _, refused = open_tab(context, (jupyterlab.split("lab/tree")[0],))
    tab.goto(jupyterlab)
    tab.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    yield tab
    context.close()
    assert not refused


def show_viewer(tab):
    """Walk down the notebook until the first viewer's cell is on the screen; give its output."""
    cell = tab.locator(".jp-CodeCell", has_text="AttentionViewer").first
    output = cell.locator(".attention-viewer")
    cell.scroll_into_view_if_needed()
    output.wait_for()
    output.scroll_into_view_if_needed()
    return output


def test_before_it_is_trusted_the_viewer_is_a_still_picture(tab):
    output = show_viewer(tab)
    still = output.locator("> img")
    assert still.is_visible() and "looks mostly at" in still.get_attribute("alt")
    assert output.get_by_role("radio").count() == 0
    assert "Point at a word" not in output.inner_text()


def test_run_all_runs_every_cell(tab, folder):
    count = len(code_cells(nbformat.read(folder / f"{LAB}.ipynb", 4)))
    tab.get_by_role("menuitem", name="Edit", exact=True).click()
    tab.get_by_role("menuitem", name="Clear Outputs of All Cells").click()
    assert tab.locator(".attention-viewer").count() == 0

    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    show_viewer(tab).get_by_role("radio").first.wait_for()
    cells = save_when_run(tab, folder / f"{LAB}.ipynb", count)
    assert [cell.execution_count for cell in cells] == list(range(1, count + 1))
    stored = code_cells(nbformat.read(ROOT / "labs" / f"{LAB}.ipynb", 4))
    assert [bool(cell.outputs) for cell in cells] == [bool(cell.outputs) for cell in stored]
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html", "text/plain"} <= kinds
    assert not [one for cell in cells for one in cell.outputs if one.output_type == "error"]


def save_when_run(tab, path: Path, count: int) -> list[nbformat.NotebookNode]:
    """The code cells of the notebook's file, when as many as `count` were run."""
    for _ in range(PATIENCE // 1000):
        tab.keyboard.press("Control+s")
        tab.wait_for_timeout(1000)
        cells = code_cells(nbformat.read(path, 4))
        if any(cell.execution_count == count for cell in cells):
            break
    return cells


def test_the_viewer_by_mouse_and_keyboard(tab):
    output = show_viewer(tab)
    says, word = output.get_by_role("status").first, output.get_by_role("radio")
    assert not output.locator("> img").is_visible()
    word.nth(2).hover()
    assert says.inner_text().startswith(f"soft {word.nth(2).inner_text()}: looks ")

    word.nth(1).click()
    active = tab.locator(".jp-Notebook .jp-Cell.jp-mod-active").inner_text()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")  # JupyterLab would go to another cell
    assert says.inner_text().startswith(f"soft {word.nth(3).inner_text()}: looks ")
    assert tab.evaluate("document.activeElement.textContent") == word.nth(3).inner_text()
    assert tab.locator(".jp-Notebook .jp-Cell.jp-mod-active").inner_text()[:20] == active[:20]


def test_the_viewer_in_the_dark_theme(tab):
    tab.get_by_role("menuitem", name="Settings", exact=True).click()
    tab.get_by_text("Theme", exact=True).first.hover()
    tab.get_by_role("menuitem", name="JupyterLab Dark", exact=True).click()
    tab.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
    output = show_viewer(tab)
    colours = output.get_by_role("radio").first.evaluate(
        "e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]"
    )
    light, dark = ([int(x) for x in c.split("(")[1].split(")")[0].split(",")[:3]] for c in colours)
    assert min(light) > max(dark) + 100
