"""What a page of somebody else can make a real browser do to the server: nothing."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect
from wire_client import Wire, code, until

from local_server.testing import LocalServer

FOREIGN = ["127.0.0.1", "localhost", "evil.example"]  # another port of this name; two other sites
SUBRESOURCES = """
    <img src="URL&img"> <img src="URL&hidden" referrerpolicy="no-referrer"> <iframe src="URL&iframe"></iframe>
    <iframe src="URL&sandbox" sandbox></iframe> <embed src="URL&embed"> <object data="URL&object"></object>
    <script src="URL&script"></script> <script type="module" src="URL&module"></script>
    <link rel="stylesheet" href="URL&style"> <link rel="prefetch" href="URL&prefetch">
    <link rel="preload" as="fetch" href="URL&preload"> <video src="URL&video"></video>
    <div style="background: url(URL&background)">x</div>
"""
SCRIPT = """
    const url = URL, body = BODY;
    fetch(url + "&fetch", {mode: "no-cors"}).catch(() => {});
    fetch(url + "&silent", {mode: "no-cors", referrerPolicy: "no-referrer"}).catch(() => {});
    fetch(url + "&cors").catch(() => {});
    new EventSource(url + "&events");
    new Worker(URL.createObjectURL(new Blob([`fetch("${url}&worker", {mode: "no-cors"}).catch(() => {})`])));
    fetch(url + "&post", {mode: "no-cors", method: "POST", body}).catch(() => {});
    fetch(url + "&patch", {method: "PATCH", body}).catch(() => {});
    navigator.sendBeacon(url + "&beacon", body);
"""


class Foreign(BaseHTTPRequestHandler):
    """Serves an empty page at each path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>foreign</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_port
        site.shutdown()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def targets(wire: Wire) -> Iterator[list[str]]:
    """What writes or joins by GET; afterwards nothing may be written, and nobody may have joined."""
    name = wire.id("p")
    wire.create(name, {"resonate:invoke": f"poll://any@{wire.id('g')}"})
    task = f"__invoke:{name}/1?x"
    yield [
        *(f"{wire.url}/tasks/{action}/{task}" for action in ("claim", "complete", "drop", "heartbeat")),
        f"{wire.url}/poll/{wire.id('g')}/w?x",
        f"{wire.poll_url}/{wire.id('g')}/w?x",
    ]
    assert wire.id("g") not in wire.get("/ui/workers").text.replace(f"poll://any@{wire.id('g')}", "")
    assert wire.claim({"id": f"__invoke:{name}", "counter": 1}, "p").status_code == 201
    assert wire.get(f"/promises/{name}").json()["state"] == "PENDING"
    assert code(wire.get(f"/promises/{wire.id('written')}")) == 40400


@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_that_a_foreign_page_loads_or_sends_writes_or_joins(
    page: Page, wire: Wire, targets: list[str], foreign_port: int, name: str
) -> None:
    answers: dict[str, int] = {}
    seen: set[str] = set()
    page.on("response", lambda response: answers.update({response.url: response.status}))
    page.on("requestfinished", lambda request: seen.add(request.url))
    page.on("requestfailed", lambda request: seen.add(request.url))
    page.goto(f"http://{name}:{foreign_port}/")
    body = f'{{"id":"{wire.id("written")}"}}'
    for url in [*targets, f"{wire.url}/promises?x"]:
        page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", SUBRESOURCES.replace("URL", url))
        page.evaluate("""() => document.querySelectorAll("script[src]").forEach(old => {
            const copy = document.createElement("script");
            for (const {name, value} of old.attributes) copy.setAttribute(name, value);
            old.replaceWith(copy);  // only so a script is loaded
        })""")
        page.evaluate(f"([URL_, BODY]) => {{{SCRIPT.replace('= URL,', '= URL_,')}}}", [url, body])
        kinds = ("img", "hidden", "iframe", "script", "style", "prefetch", "fetch", "silent", "cors", "events", "post")
        wanted = {f"{url}&{kind}" for kind in kinds}
        until(lambda wanted=wanted: page.wait_for_timeout(20) or wanted <= seen)
    assert {url: status for url, status in answers.items() if "?x&" in url and status not in (403, 405)} == {}


@pytest.mark.parametrize("name", FOREIGN)
def test_no_form_and_no_link_of_a_foreign_page_writes_or_joins(
    page: Page, wire: Wire, targets: list[str], foreign_port: int, name: str
) -> None:
    ways = [
        "url => { location = url }",
        "url => { document.body.innerHTML = `<a rel=noreferrer href='${url}'>x</a>`; document.links[0].click() }",
        "url => { document.body.innerHTML = `<form action='${url}'>`; document.forms[0].submit() }",
        """url => {
            document.body.innerHTML = `<form method=post enctype=text/plain action='${url}'><input name='x'></form>`;
            document.forms[0].submit()
        }""",
    ]
    post = """([url, id]) => {
        document.body.innerHTML = `<form method=post enctype=text/plain action='${url}'><input></form>`;
        document.querySelector("input").name = `{"id":"${id}","x":"`;
        document.querySelector("input").value = '"}';
        document.forms[0].submit()
    }"""
    for way, argument in [(way, url) for url in targets for way in ways] + [
        (post, [f"{wire.url}/promises", wire.id("written")])
    ]:
        page.goto(f"http://{name}:{foreign_port}/")
        with page.expect_navigation(wait_until="commit") as answer:
            page.evaluate(way, argument)
        assert answer.value.status in (403, 405)


def test_not_even_an_address_that_is_typed_writes_or_joins(page: Page, targets: list[str]) -> None:
    assert [page.goto(url).status for url in targets] == [403] * len(targets)


def test_a_foreign_name_of_this_address_reads_nothing(page: Page, wire: Wire, targets: list[str]) -> None:
    for url in [wire.url, *targets]:
        assert page.goto(url.replace("127.0.0.1", "rebound.example")).status == 403


@pytest.mark.parametrize("name", FOREIGN)
def test_a_link_of_a_foreign_page_leads_to_our_page_which_works(
    page: Page, memory_server: LocalServer, foreign_port: int, name: str
) -> None:
    page.goto(f"http://{name}:{foreign_port}/")
    page.evaluate("url => { document.body.innerHTML = `<a href='${url}'>x</a>` }", f"{memory_server.url}/")
    page.click("a")
    expect(page.locator("#connection")).to_have_text("live")
    page.reload()
    expect(page.locator("#connection")).to_have_text("live")


def test_a_foreign_page_can_not_frame_our_page(page: Page, memory_server: LocalServer, foreign_port: int) -> None:
    page.goto(f"http://localhost:{foreign_port}/")
    with page.expect_response(f"{memory_server.url}/") as answer:
        page.evaluate("url => { document.body.innerHTML = `<iframe src='${url}'></iframe>` }", f"{memory_server.url}/")
    assert answer.value.status == 403
