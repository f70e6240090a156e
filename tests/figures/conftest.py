"""The page of a module's ``viewer``, and how it is opened in a real browser."""

import pytest
from browsing import visits


@pytest.fixture(scope="module")
def page(viewer, tmp_path_factory):
    path = tmp_path_factory.mktemp("viewer") / "page.html"
    viewer.save(path)
    return path


@pytest.fixture
def visit(browser, page):
    with visits(browser, page) as open_page:
        yield open_page
