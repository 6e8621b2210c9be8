"""What the market's tests ask for, and how they read stamps."""

from datetime import datetime

GECKO = "/coingecko/coins/markets?vs_currency=usd&per_page=250&price_change_percentage=1h,24h,7d&precision=full"
CMC = "/coinmarketcap/public-api/v3/cryptocurrency/quotes/latest?id=1,1027,28321&convert=USD&skip_invalid=true"
KEYED = {"X-CMC_PRO_API_KEY": "demo-key"}
ISO_MS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def stamp_ms(text):
    """UTC epoch ms of a provider's ISO-8601 stamp."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def entries(client, since=0):
    """The ledger after `since`."""
    return (await client.get("/_market/ledger", params={"since": since, "limit": 10_000})).json()["entries"]
