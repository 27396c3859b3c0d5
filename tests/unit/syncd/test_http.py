"""The HTTP shell: what a load balancer, a scraper and a browser get."""

import asyncio
import gzip
from collections.abc import Mapping
from pathlib import Path

import httpx
import orjson
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from syncd import http
from syncd.http import Part, create_app, problem
from syncd.metrics import Stats, registry
from syncd.web_files import find_web_folder, load_web_files

SCRIPT = b"console.log('a script that is long enough to be worth compressing');" * 40


async def ready() -> Mapping[str, Part]:
    return {"store": Part(True, "sqlite"), "accepting": Part(True)}


@pytest.fixture
def web_folder(tmp_path: Path) -> Path:
    """What Vite writes, in small, next to a file that must not be served."""
    (tmp_path / "secret.txt").write_text("not yours")
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>the client</title>")
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "assets" / "index-BsX2_9aQ.js").write_bytes(SCRIPT)
    (folder / "assets" / "icon.svg").write_text("<svg/>")
    (folder / ".vite").mkdir()
    (folder / ".vite" / "manifest.json").write_text("{}")
    return folder


def client_of(app: ASGIApp, raise_errors: bool = True) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=raise_errors)
    return httpx.AsyncClient(transport=transport, base_url="http://node")


@pytest.fixture
def client(web_folder: Path) -> httpx.AsyncClient:
    return client_of(create_app(ready, registry(Stats(updates_in=7)), web_folder=web_folder))


def assert_problem(response: httpx.Response, status: int) -> Mapping[str, object]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: Mapping[str, object] = orjson.loads(response.content)
    assert document["status"] == status
    assert document["title"]
    return document


async def test_healthz(client: httpx.AsyncClient) -> None:
    response = await client.get("/healthz")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert response.headers["cache-control"] == "no-store"


async def test_readyz_when_all_is_well(client: httpx.AsyncClient) -> None:
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "parts": {"store": {"ok": True, "detail": "sqlite"}, "accepting": {"ok": True, "detail": ""}},
    }


async def test_readyz_names_the_part_that_fails() -> None:
    async def unready() -> Mapping[str, Part]:
        return {"store": Part(False, "the disk is full"), "accepting": Part(True)}

    response = await client_of(create_app(unready, registry(Stats()))).get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "unready"
    assert response.json()["parts"]["store"] == {"ok": False, "detail": "the disk is full"}


async def test_readyz_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck() -> Mapping[str, Part]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(http, "READY_TIMEOUT", 0.01)
    response = await client_of(create_app(stuck, registry(Stats()))).get("/readyz")
    assert response.status_code == 503
    assert "no answer" in response.json()["parts"]["node"]["detail"]


async def test_readyz_survives_a_check_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Mapping[str, Part]:
        raise RuntimeError("password=hunter2")

    response = await client_of(create_app(broken, registry(Stats()))).get("/readyz")
    assert response.status_code == 503
    assert "hunter2" not in response.text
    assert len(caplog.records) == 1


async def test_metrics(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert "syncd_updates_in_total 7.0" in response.text
    openmetrics = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")


@pytest.mark.parametrize("path", ["/", "/d/notes", "/d/a/b", "/d/a%2Fb", "/d/%C3%A4"])
async def test_the_page(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert "the client" in response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert "'unsafe-inline'" in policy["style-src"]
    assert policy["frame-ancestors"] == "'none'"


async def test_files(client: httpx.AsyncClient) -> None:
    """Names with a hash never change their content; all others are asked for again."""
    hashed = await client.get("/assets/index-BsX2_9aQ.js")
    assert hashed.content == SCRIPT
    assert hashed.headers["content-type"] == "text/javascript; charset=utf-8"
    assert hashed.headers["cache-control"] == "public, max-age=31536000, immutable"
    for path in ("/assets/icon.svg", "/favicon.svg"):
        plain = await client.get(path)
        assert plain.headers["content-type"] == "image/svg+xml"
        assert plain.headers["cache-control"] == "no-cache"


async def test_compression(client: httpx.AsyncClient) -> None:
    path = "/assets/index-BsX2_9aQ.js"
    packed = await client.get(path, headers={"Accept-Encoding": "br, gzip"})
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(gzip.compress(SCRIPT, mtime=0)) < len(SCRIPT)
    assert packed.content == plain.content == SCRIPT
    assert "content-encoding" not in plain.headers
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("path", ["/", "/assets/index-BsX2_9aQ.js"])
async def test_a_known_file_is_not_sent_again(client: httpx.AsyncClient, path: str) -> None:
    etag = (await client.get(path)).headers["etag"]
    again = await client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "//secret.txt",
        "/assets/",
        "/.vite/manifest.json",
        "/index.html%00",
        "/missing",
        "/api/v1/missing",
    ],
)
async def test_what_is_not_there(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(httpx.URL("http://node").copy_with(raw_path=path.encode()))
    assert_problem(response, 404)
    assert "not yours" not in response.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/", "/d/x", "/assets/icon.svg"])
async def test_head_and_other_methods(client: httpx.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code == 200
    assert head.headers["content-type"] == got.headers["content-type"]
    for method in ("POST", "PUT", "DELETE"):
        refused = await client.request(method, path)
        assert_problem(refused, 405)
        assert "GET" in refused.headers["allow"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/assets/icon.svg", "/missing", "/ws/x"])
async def test_every_response_limits_what_a_browser_does_with_it(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]


async def test_a_page_request_where_websockets_are(client: httpx.AsyncClient) -> None:
    response = await client.get("/ws/notes")
    assert "websocket" in str(assert_problem(response, 426)["detail"])
    assert response.headers["upgrade"] == "websocket"


async def test_with_the_prefix_at_the_root_the_page_stays(web_folder: Path) -> None:
    app = create_app(ready, registry(Stats()), prefix="/", web_folder=web_folder)
    assert "the client" in (await client_of(app).get("/")).text


async def test_a_client_that_was_not_built(tmp_path: Path) -> None:
    client = client_of(create_app(ready, registry(Stats()), web_folder=tmp_path))
    response = await client.get("/d/notes")
    assert response.status_code == 200
    assert "has not been built" in response.text
    assert_problem(await client.get("/assets/x.js"), 404)


async def test_without_the_client() -> None:
    client = client_of(create_app(ready, registry(Stats()), web=False))
    assert_problem(await client.get("/"), 404)
    assert (await client.get("/healthz")).status_code == 200


async def test_own_routes_come_first_and_errors_show_nothing(web_folder: Path) -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError("password=hunter2")

    async def teapot(request: Request) -> Response:
        return problem(418, "short and stout")

    routes = [Route("/api/v1/fail", fail), Route("/api/v1/teapot", teapot)]
    app = create_app(ready, registry(Stats()), web_folder=web_folder, routes=routes)
    client = client_of(app, raise_errors=False)
    failed = await client.get("/api/v1/fail")
    assert_problem(failed, 500)
    assert "hunter2" not in failed.text
    assert failed.headers["x-content-type-options"] == "nosniff"
    assert assert_problem(await client.get("/api/v1/teapot"), 418)["detail"] == "short and stout"


def test_files_of_a_folder(web_folder: Path) -> None:
    files = load_web_files(web_folder)
    assert files is not None
    assert sorted(files) == ["assets/icon.svg", "assets/index-BsX2_9aQ.js", "favicon.svg", "index.html"]
    assert load_web_files(web_folder / "assets") is None
    assert load_web_files(web_folder / "nowhere") is None


def test_the_client_is_looked_for_in_the_package_and_then_in_the_checkout() -> None:
    assert find_web_folder().parts[-2:] in (("syncd", "_web"), ("web", "dist"))
