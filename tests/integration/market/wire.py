"""Requests of the market's tests, and helpers to read timestamps."""

from datetime import datetime

GECKO = "/coingecko/coins/markets?vs_currency=usd&per_page=250&price_change_percentage=1h,24h,7d&precision=full"
CMC = "/coinmarketcap/public-api/v3/cryptocurrency/quotes/latest?id=1,1027,28321&convert=USD&skip_invalid=true"
BINANCE = '/binance/api/v3/ticker/24hr?symbols=["BTCUSDT","ETHUSDT","POLUSDT"]'
KRAKEN = "/kraken/0/public/Ticker?pair=XBTUSD,ETHUSD,POLUSD"
PAPRIKA = "/coinpaprika/v1/tickers"
COINBASE = "/coinbase/api/v3/brokerage/market/products?product_ids=BTC-USD&product_ids=ETH-USD&product_ids=POL-USD"
ALL = {"coingecko": GECKO, "coinmarketcap": CMC, "binance": BINANCE, "kraken": KRAKEN, "coinpaprika": PAPRIKA, "coinbase": COINBASE}
"""One call for current prices from each provider."""
BITCOIN = {
    "coingecko": "bitcoin",
    "coinmarketcap": "1",
    "binance": "BTCUSDT",
    "kraken": "XBTUSD",
    "coinpaprika": "btc-bitcoin",
    "coinbase": "BTC-USD",
}
ETHEREUM = {"coingecko": "ethereum", "coinmarketcap": "1027", "binance": "ETHUSDT", "kraken": "ETHUSD", "coinpaprika": "eth-ethereum"} | {
    "coinbase": "ETH-USD"
}
NOON_MS = 1_795_521_600_000
"""2026-11-24T12:00:00Z, which replays 2022-11-09: the day on which the market fell."""
KEYED = {"X-CMC_PRO_API_KEY": "demo-key"}
ISO_MS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def stamp_ms(text):
    """UTC epoch ms of a provider's ISO 8601 timestamp."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def entries(client, since=0):
    """The request log after `since`."""
    return (await client.get("/_market/ledger", params={"since": since, "limit": 10_000})).json()["entries"]


def prices_in(provider, body):
    """Price by the id in the body, for any provider."""
    if provider == "coingecko":
        return {row["id"]: row["current_price"] for row in body}
    if provider == "coinmarketcap":
        return {str(coin["id"]): coin["quote"][0]["price"] for coin in body["data"]}
    if provider == "binance":
        return {row["symbol"]: row["lastPrice"] for row in body}
    if provider == "kraken":
        return {key: row["c"][0] for key, row in body["result"].items()}
    if provider == "coinpaprika":
        return {row["id"]: row["quotes"]["USD"]["price"] for row in body}
    return {row["product_id"]: row["price"] for row in body["products"]}
