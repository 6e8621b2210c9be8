"""A page of another site in the same browser: forms, images and rebound names cannot change or read anything."""

import pytest

from tests.integration.market.wire import GECKO

pytestmark = pytest.mark.integration

FAULT = b'{"provider": "*", "kind": "hang"}'


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", None]
)
@pytest.mark.parametrize("place", ["faults", "limits"])
async def test_a_body_that_a_form_can_send_is_refused(client, place, content_type):
    response = await client.post(f"/_market/{place}", content=FAULT, headers={"Content-Type": content_type} if content_type else {})
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]
    assert (await client.get("/_market/faults")).json()["faults"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:5006"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/_market/faults"), ("DELETE", "/_market/faults"), ("GET", "/_market/ledger"), ("GET", GECKO), ("OPTIONS", "/_market/faults")],
)
async def test_a_page_of_another_site_is_refused(client, market, headers, method, path):
    response = await client.request(method, path, headers={"Content-Type": "application/json"} | headers, content=FAULT if method == "POST" else None)
    assert response.status_code == 403
    assert "Access-Control-Allow-Origin" not in response.headers
    assert market.requests_total == 0
    assert (await client.get("/_market/faults")).json()["faults"] == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8999", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example.", "[::1", "0x7f000001", ""]
)
@pytest.mark.parametrize("path", ["/_market/ledger", "/_market/clock", GECKO])
async def test_a_name_that_points_here_is_refused(client, market, host, path):
    response = await client.get(path, headers={"Host": host})
    assert response.status_code in {400, 421}
    assert market.requests_total == 0


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:8999", "192.0.2.7:8999"])
async def test_addresses_and_localhost_are_served(client, host):
    assert (await client.get("/_market/clock", headers={"Host": host})).status_code == 200


async def test_an_address_typed_into_the_browser_is_served(client):
    assert (await client.get("/_market/clock", headers={"Sec-Fetch-Site": "none"})).status_code == 200
