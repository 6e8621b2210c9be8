"""Static facts of the replayed coins: ids, names, supplies, all-time records. Constants as of a date, not history.

CoinGecko's facts are from a recorded `/coins/markets` body of 2023-01-16, CoinMarketCap's from a recorded `/v1/cryptocurrency/listings/latest` body
of 2022-12-16: the responses nearest to the replayed month in public repositories. Market caps and ranks are derived from price x supply.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptoviz.assets import DEFAULT_ASSETS, Asset

__all__ = ["CoinGeckoFacts", "CoinMarketCapFacts", "ReplayedCoin", "replayed_coins", "simulated_coins"]


@dataclass(frozen=True, slots=True)
class CoinGeckoFacts:
    """As of 2023-01-16. Supplies in coins, records in USD with ISO-8601 dates; None where CoinGecko has null."""

    image: str
    circulating: float | None
    total: float | None
    max: float | None
    ath: float | None
    ath_date: str | None
    atl: float | None
    atl_date: str | None


@dataclass(frozen=True, slots=True)
class CoinMarketCapFacts:
    """As of 2022-12-16. Supplies in coins; `date_added` is a day."""

    slug: str
    circulating: float | None
    total: float | None
    max: float | None
    market_pairs: int
    date_added: str | None
    token_address: str | None = None
    """For tokens on Ethereum; None for coins with their own chain."""


@dataclass(frozen=True, slots=True)
class ReplayedCoin:
    """A coin of the market. `candles` is the symbol of its recording, None for a simulated coin."""

    asset: Asset
    candles: str | None
    coingecko: CoinGeckoFacts
    coinmarketcap: CoinMarketCapFacts

    def provider_id(self, provider: str) -> str:
        """The coin's id at a provider; the internal id if the asset table has none."""
        return self.asset.provider_ids.get(provider, self.asset.asset_id)

    def listing(self, provider: str) -> str | None:
        """The coin's id at a provider that lists only coins with an id in the asset table; None if not listed."""
        return self.asset.provider_ids.get(provider)


_IMAGES = "https://assets.coingecko.com/coins/images/"
_COINGECKO: dict[str, CoinGeckoFacts] = {
    "bitcoin": CoinGeckoFacts(
        _IMAGES + "1/large/bitcoin.png", 19_263_568, 21_000_000, 21_000_000, 69_045, "2021-11-10T14:24:11.849Z", 67.81, "2013-07-06T00:00:00.000Z"
    ),
    "ethereum": CoinGeckoFacts(
        _IMAGES + "279/large/ethereum.png",
        120_520_674.348941,
        120_520_674.348941,
        None,
        4_878.26,
        "2021-11-10T14:24:19.604Z",
        0.432979,
        "2015-10-20T00:00:00.000Z",
    ),
    "binancecoin": CoinGeckoFacts(
        _IMAGES + "825/large/bnb-icon2_2x.png",
        163_276_974.63,
        163_276_974.63,
        200_000_000,
        686.31,
        "2021-05-10T07:24:17.097Z",
        0.0398177,
        "2017-10-19T00:00:00.000Z",
    ),
    "ripple": CoinGeckoFacts(
        _IMAGES + "44/large/xrp-symbol-white-128.png",
        50_713_323_547,
        99_989_156_648,
        100_000_000_000,
        3.4,
        "2018-01-07T00:00:00.000Z",
        0.00268621,
        "2014-05-22T00:00:00.000Z",
    ),
    "cardano": CoinGeckoFacts(
        _IMAGES + "975/large/cardano.png",
        35_045_020_830.3234,
        45_000_000_000,
        45_000_000_000,
        3.09,
        "2021-09-02T06:00:10.474Z",
        0.01925275,
        "2020-03-13T02:22:55.044Z",
    ),
    "solana": CoinGeckoFacts(
        _IMAGES + "4128/large/solana.png",
        370_620_644.02527,
        538_567_749.392619,
        None,
        259.96,
        "2021-11-06T21:54:35.825Z",
        0.500801,
        "2020-05-11T19:35:23.449Z",
    ),
    "polkadot": CoinGeckoFacts(
        _IMAGES + "12171/large/polkadot.png",
        1_191_126_830.21718,
        1_272_073_056.3631,
        None,
        54.98,
        "2021-11-04T14:10:09.301Z",
        2.7,
        "2020-08-20T05:48:11.359Z",
    ),
    "polygon": CoinGeckoFacts(
        _IMAGES + "4713/large/matic-token-icon.png",
        8_965_469_069.28493,
        10_000_000_000,
        10_000_000_000,
        2.92,
        "2021-12-27T02:08:34.307Z",
        0.00314376,
        "2019-05-10T00:00:00.000Z",
    ),
    "avalanche": CoinGeckoFacts(
        _IMAGES + "12559/large/Avalanche_Circle_RedWhite_Trans.png",
        311_582_142.741224,
        416_988_132.741224,
        720_000_000,
        144.96,
        "2021-11-21T14:18:56.538Z",
        2.8,
        "2020-12-31T13:15:21.540Z",
    ),
    "litecoin": CoinGeckoFacts(
        _IMAGES + "2/large/litecoin.png",
        72_063_370.7334713,
        84_000_000,
        84_000_000,
        410.26,
        "2021-05-10T03:13:07.904Z",
        1.15,
        "2015-01-14T00:00:00.000Z",
    ),
    "chainlink": CoinGeckoFacts(
        _IMAGES + "877/large/chainlink-new-logo.png",
        491_599_971.2305644,
        1_000_000_000,
        1_000_000_000,
        52.7,
        "2021-05-10T00:13:57.214Z",
        0.148183,
        "2017-11-29T00:00:00.000Z",
    ),
    "uniswap": CoinGeckoFacts(
        _IMAGES + "12504/large/uniswap-uni.png",
        753_766_667,
        1_000_000_000,
        1_000_000_000,
        44.92,
        "2021-05-03T05:25:04.822Z",
        1.03,
        "2020-09-17T01:20:38.214Z",
    ),
    "cosmos": CoinGeckoFacts(
        _IMAGES + "1481/large/cosmos_hub.png", 292_586_163.827428, None, None, 44.45, "2022-01-17T00:34:41.497Z", 1.16, "2020-03-13T02:27:44.591Z"
    ),
    "stellar": CoinGeckoFacts(
        _IMAGES + "100/large/Stellar_symbol_black_RGB.png",
        26_203_120_780.2131,
        50_001_787_500.6072,
        50_001_787_500.6072,
        0.875563,
        "2018-01-03T00:00:00.000Z",
        0.00047612,
        "2015-03-05T00:00:00.000Z",
    ),
    "algorand": CoinGeckoFacts(
        _IMAGES + "4380/large/download.png",
        7_196_637_511.40803,
        7_418_835_686.40894,
        10_000_000_000,
        3.56,
        "2019-06-20T14:51:19.480Z",
        0.105336,
        "2020-03-13T02:20:48.438Z",
    ),
    "vechain": CoinGeckoFacts(
        _IMAGES + "1167/large/VeChain-Logo-768x725.png",
        72_511_146_418,
        85_985_041_177,
        86_712_634_466,
        0.280991,
        "2021-04-19T01:08:21.675Z",
        0.00191713,
        "2020-03-13T02:29:59.652Z",
    ),
    "filecoin": CoinGeckoFacts(
        _IMAGES + "12817/large/filecoin.png",
        359_805_544,
        1_965_831_130,
        1_965_831_130,
        236.84,
        "2021-04-01T13:29:41.564Z",
        2.64,
        "2022-12-16T22:45:28.552Z",
    ),
}
_COINMARKETCAP: dict[str, CoinMarketCapFacts] = {
    "bitcoin": CoinMarketCapFacts("bitcoin", 19_235_556, 19_235_556, 21_000_000, 9900, "2013-04-28T00:00:00.000Z"),
    "ethereum": CoinMarketCapFacts("ethereum", 122_373_866.2178, 122_373_866.2178, None, 6300, "2015-08-07T00:00:00.000Z"),
    "binancecoin": CoinMarketCapFacts("bnb", 159_967_394.56822222, 159_979_963.59042934, 200_000_000, 1155, "2017-07-25T00:00:00.000Z"),
    "ripple": CoinMarketCapFacts("xrp", 50_395_461_568, 99_989_192_051, 100_000_000_000, 865, "2013-08-04T00:00:00.000Z"),
    "cardano": CoinMarketCapFacts("cardano", 34_481_197_414.112, 35_248_900_140.797, 45_000_000_000, 614, "2017-10-01T00:00:00.000Z"),
    "solana": CoinMarketCapFacts("solana", 366_693_128.33693653, 536_324_572.58707017, None, 411, "2020-04-10T00:00:00.000Z"),
    "polkadot": CoinMarketCapFacts("polkadot-new", 1_147_681_170.1831808, 1_263_704_840.4883606, None, 444, "2020-08-19T00:00:00.000Z"),
    "polygon": CoinMarketCapFacts("polygon-ecosystem-token", 8_734_317_475.28493, 10_000_000_000, 10_000_000_000, 553, "2019-04-28T00:00:00.000Z"),
    "avalanche": CoinMarketCapFacts("avalanche", 311_032_204.7350899, 416_438_194.7350899, 720_000_000, 355, "2020-07-13T00:00:00.000Z"),
    "litecoin": CoinMarketCapFacts("litecoin", 71_842_356.227241, 84_000_000, 84_000_000, 859, "2013-04-28T00:00:00.000Z"),
    "chainlink": CoinMarketCapFacts(
        "chainlink", 507_999_970.4527867, 1_000_000_000, 1_000_000_000, 924, "2017-09-20T00:00:00.000Z", "0x514910771af9ca656af840dff83e8264ecf986ca"
    ),
    "uniswap": CoinMarketCapFacts(
        "uniswap", 762_209_326.5354977, 1_000_000_000, 1_000_000_000, 580, "2020-09-17T00:00:00.000Z", "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984"
    ),
    "cosmos": CoinMarketCapFacts("cosmos", 286_370_297, 0, None, 375, "2019-03-14T00:00:00.000Z"),
    "stellar": CoinMarketCapFacts("stellar", 26_057_647_706.395233, 50_001_787_530.61639, 50_001_806_812, 469, "2014-08-05T00:00:00.000Z"),
    "algorand": CoinMarketCapFacts("algorand", 7_133_518_057.06, 7_356_908_482.831023, 10_000_000_000, 272, "2019-06-20T00:00:00.000Z"),
    "vechain": CoinMarketCapFacts("vechain", 72_511_146_418, 85_985_041_177, 86_712_634_466, 211, "2017-08-22T00:00:00.000Z"),
    "filecoin": CoinMarketCapFacts("filecoin", 342_564_013, 342_564_013, None, 263, "2017-12-13T00:00:00.000Z"),
}
# MATIC's history and facts are served under POL's ids, 1:1, as its holders were converted (2024-09).
_RECORDED_AS = {"polygon": "MATIC"}


def replayed_coins(extra: Iterable[Asset] = ()) -> tuple[ReplayedCoin, ...]:
    """The 17 recorded coins, plus a simulated coin for each other asset of `extra`."""
    recorded = [
        ReplayedCoin(asset, _RECORDED_AS.get(asset.asset_id, asset.symbol), _COINGECKO[asset.asset_id], _COINMARKETCAP[asset.asset_id])
        for asset in DEFAULT_ASSETS
    ]
    known = {asset.asset_id for asset in DEFAULT_ASSETS}
    return (*recorded, *(_simulated(asset) for asset in extra if asset.asset_id not in known))


def simulated_coins(count: int) -> tuple[Asset, ...]:
    """Assets `sim001` and so on, listed at Binance, Kraken and Coinbase, for load tests with many instruments."""
    names = [f"SIM{number:03d}" for number in range(1, count + 1)]
    return tuple(Asset(name.lower(), name, name, {"binance": f"{name}USDT", "kraken": f"{name}USD", "coinbase": f"{name}-USD"}) for name in names)


def _simulated(asset: Asset) -> ReplayedCoin:
    """A simulated coin: round, seeded supplies; everything else null."""
    supply = float(1 + zlib.crc32(asset.asset_id.encode()) % 1_000) * 1e6
    coingecko = CoinGeckoFacts(_IMAGES + "0/large/missing.png", supply, supply, None, None, None, None, None)
    return ReplayedCoin(asset, None, coingecko, CoinMarketCapFacts(asset.asset_id, supply, supply, None, 0, None))
