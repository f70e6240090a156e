"""What the tests in a real browser share: what a page complains of, and what axe-core finds."""

from contextlib import contextmanager

PATIENCE = 120_000  # ms: a busy machine is no fault of a page


def open_tab(context, allowed: tuple[str, ...]):
    """A new tab that reaches only addresses which begin in an allowed way.

    Returns:
        The tab, the list of its complaints, and the list of the addresses that were refused. Both
        lists grow while the tab is used.
    """
    tab, complaints, refused = context.new_page(), [], []
    tab.set_default_timeout(PATIENCE)

    def refuse(route):
        refused.append(route.request.url)
        route.abort()

    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("response", lambda r: complaints.append(f"{r.status} {r.url}") if r.status > 399 else 0)
    tab.route(lambda url: not url.startswith((*allowed, "data:", "blob:")), refuse)
    return tab, complaints, refused


def serious_faults(tab, within: str | None = None, **options) -> list[str]:
    """What axe-core finds serious or critical on the open page, a line for each place."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], "preload": False, **options}
    found = Axe().run(tab, context=within, options=options)
    return [
        f"{fault['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for fault in found.response["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@contextmanager
def visits(browser, page):
    """A function that opens a file in a browser of some kind; in the end nothing went wrong."""
    seen, contexts = [], []

    def open_page(**kind):
        contexts.append(browser.new_context(**kind))
        tab, *lists = open_tab(contexts[-1], (page.as_uri(),))
        seen.extend(lists)
        tab.goto(page.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not any(seen), seen


def sentences(tab):
    """What the panels of a viewer say."""
    return [line.strip() for line in tab.get_by_role("status").all_inner_texts()]


def chosen(tab):
    """The words of a viewer that are chosen."""
    return tab.locator("[aria-checked=true]").all_inner_texts()
