"""`ProviderSpec`: the facts of one provider, as data. Settings, schedules, the asset table, backfill and the dashboard read them here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from pydantic import SecretStr

from cryptoviz.addresses import require_parts, require_visible
from cryptoviz.errors import SettingsError, SpecError
from cryptoviz.nearest import did_you_mean
from cryptoviz.providers.account import AccountCall
from cryptoviz.providers.history import HistorySource
from cryptoviz.providers.plan import Cost, Plan, one_call
from cryptoviz.providers.schema_drift import Shape
from cryptoviz.records import FallbackReason

__all__ = ["NAME", "IdFormat", "ProviderConfig", "ProviderSpec"]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""Valid names: they become part of component names, environment variables and file names."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""Names of HTTP headers (RFC 9110, section 5.6.2)."""


class ProviderConfig(Protocol):
    """The settings that a provider reads (`cryptoviz.settings.ProviderSettings`)."""

    @property
    def base_url(self) -> str:
        """The root of all paths; empty: the provider's own."""

    @property
    def plan(self) -> str:
        """Name of the plan; empty: the default."""

    @property
    def api_key(self) -> SecretStr | None:
        """The API key, if there is one."""

    @property
    def min_interval_s(self) -> float | None:
        """Shortest time between two calls; None: the provider's own."""


@dataclass(frozen=True, slots=True)
class IdFormat:
    """The only valid form of a provider's ids. `example` completes the sentence "valid is ..."."""

    pattern: re.Pattern[str]
    example: str


@dataclass(frozen=True, kw_only=True)
class ProviderSpec:
    """All facts of a provider, without the code of a poll.

    Attributes:
        name: in settings, records and asset tables: see `NAME`; without `__`.
        display_name: for people; empty: the name.
        base_url: the root of all paths, unless `providers.<name>.base_url` is set: https://host or http://host, with port and path if needed.
        plan_base_urls: the root of all paths in plans that have a host of their own.
        plans: limits by plan. The first plan needs no key, the others do; the second is the default with a key. `{"": Plan(...)}`: there is one plan.
            Empty: any plan name is accepted, without limits.
        key_headers: the header that carries the key, by plan. Keys are sent in headers only, never in a URL.
        key_variable: another environment variable of the key, beside `CRYPTOVIZ_PROVIDERS__<NAME>__API_KEY`.
        cost: of a poll for a number of assets.
        min_interval_s: shortest time between two calls to the provider's own hosts.
        asset_ids: our asset ids -> the provider's ids.
        alias_ids: names of `cryptoviz.assets.ALIASES` -> the provider's ids, for history before a coin's change of name.
        quote: the currency of the prices of these ids; None: dollars, because the calls request them.
        normal_id: one text for all spellings of an id.
        id_format: None: any text.
        listing_weight: weight of a call for the provider's list of ids.
        shapes: by a part of a path, the documented content of good bodies (see `cryptoviz.providers.schema_drift`).
        status_reasons: meaning of HTTP statuses that differ from the usual (see `cryptoviz.providers.failures`).
        account: the endpoint that reports a key's limits and usage.
        history: past prices for a backfill.
    """

    name: str
    display_name: str = ""
    base_url: str
    plan_base_urls: Mapping[str, str] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    key_headers: Mapping[str, str] = field(default_factory=dict)
    key_variable: str = ""
    cost: Callable[[int], Cost] = one_call
    min_interval_s: float = 1.0
    asset_ids: Mapping[str, str] = field(default_factory=dict)
    alias_ids: Mapping[str, str] = field(default_factory=dict)
    quote: str | None = None
    normal_id: Callable[[str], str] = str
    id_format: IdFormat | None = None
    listing_weight: int = 1
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    status_reasons: Mapping[int, FallbackReason] = field(default_factory=dict)
    account: AccountCall | None = None
    history: HistorySource | None = None

    def __post_init__(self) -> None:
        """Check the facts against each other, so that a mistake is found where the module is imported.

        Raises:
            SpecError: `attribute`; the text has its value and what is valid.
        """
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name) or "__" in self.name:
            text = f"name is {self.name!r}: valid are up to 32 of a-z, 0-9, - and single _, the first a letter or digit"
            raise SpecError(text, provider=str(self.name), attribute="name")
        self._check_address("base_url", "", self.base_url)
        for plan, root in self.plan_base_urls.items():
            self._check_address("plan_base_urls", f"[{plan!r}]", root)
        for plan, header in self.key_headers.items():
            if not isinstance(header, str) or not _HEADER.fullmatch(header):
                raise self._error("key_headers", f"[{plan!r}]", f"is {header!r}: valid is the name of a header")
        if "" in self.plans and len(self.plans) > 1:
            raise self._error("plans", "", f"are {', '.join(map(repr, self.plans))}: valid is a name for each, or '' for the only one")
        for attribute, by_plan in (("plan_base_urls", self.plan_base_urls), ("key_headers", self.key_headers)):
            if unknown := sorted(by_plan.keys() - self.plans.keys()):
                raise self._error(attribute, "", f"names the plans {', '.join(map(repr, unknown))}, which plans does not have")
        self._check_costs()
        self._check_ids()

    def _error(self, attribute: str, part: str, what: str) -> SpecError:
        return SpecError(f"{attribute}{part} of {self.name} {what}", provider=self.name, attribute=attribute)

    def _check_address(self, attribute: str, part: str, root: str) -> None:
        if not isinstance(root, str) or "://" not in root:
            raise self._error(attribute, part, f"is {root!r}: valid is an address that begins with https:// or http://")
        try:
            require_visible(root)
            require_parts(root, ("https", "http"), path=True)
        except ValueError as error:
            raise self._error(attribute, part, f"is {root!r}: {error}") from None

    def _check_costs(self) -> None:
        if not 0 <= self.min_interval_s < float("inf"):
            raise self._error("min_interval_s", "", f"is {self.min_interval_s}: valid are 0 and finite numbers above it")
        if self.listing_weight < 1:
            raise self._error("listing_weight", "", f"is {self.listing_weight}: valid is 1 or more")
        for assets in (1, 1000):
            if not isinstance(cost := self.cost(assets), Cost):
                raise SpecError(f"cost of {self.name} for {assets} assets is {cost!r}: valid is a Cost", provider=self.name, attribute="cost")

    def _check_ids(self) -> None:
        seen: dict[str, str] = {}
        for asset_id, provider_id in self.asset_ids.items():
            of = f"the id of {asset_id!r} in asset_ids of {self.name} is {provider_id!r}"
            wrong = ""
            if not isinstance(provider_id, str) or not provider_id.isprintable() or not provider_id or any(map(str.isspace, provider_id)):
                wrong = ": valid is text without white space, not empty"
            elif self.id_format is not None and not self.id_format.pattern.fullmatch(provider_id):
                wrong = f": valid is {self.id_format.example}"
            elif (other := seen.setdefault(self.normal_id(provider_id), asset_id)) != asset_id:
                wrong = f", which is also that of {other!r}: valid is an id of its own for each asset"
            if wrong:
                raise SpecError(f"{of}{wrong}", provider=self.name, attribute="asset_ids")

    @cached_property
    def _table_ids(self) -> frozenset[str]:
        return frozenset((*self.asset_ids.values(), *self.alias_ids.values()))

    def quote_of(self, provider_id: str) -> str | None:
        """The currency that an id of the tables above is quoted in. None for any other id: its text does not determine it."""
        return self.quote if provider_id in self._table_ids else None

    def plan_name(self, config: ProviderConfig) -> str:
        """The plan that the settings choose; empty if there is only one.

        Raises:
            SettingsError: the provider has no such plan, or the plan needs a key that is not set.
        """
        setting, key = f"CRYPTOVIZ_PROVIDERS__{self.name.upper()}__PLAN", config.api_key
        names = tuple(self.plans)
        if not names:
            return config.plan
        if names == ("",):
            if config.plan:
                text = f"{setting} is {config.plan!r}: {self.name} has a single plan: leave it unset"
                raise SettingsError(text, setting=setting)
            return ""
        has_key = key is not None and bool(key.get_secret_value())
        plan = config.plan or names[1 if has_key and len(names) > 1 else 0]
        if plan not in names:
            raise SettingsError(f"{setting} is {plan!r}{did_you_mean(plan, names)}: valid are {', '.join(names)}", setting=setting)
        if plan != names[0] and not has_key:
            key_setting = f"CRYPTOVIZ_PROVIDERS__{self.name.upper()}__API_KEY"
            also = f" (or {self.key_variable})" if self.key_variable else ""
            text = f"{setting} is {plan!r}, which needs a key: set {key_setting}{also}, or valid is {names[0]}"
            raise SettingsError(text, setting=setting, settings=(setting, key_setting))
        return plan

    def plan(self, config: ProviderConfig) -> Plan:
        """The plan's published limits. Raises as `plan_name`."""
        return self.plans.get(self.plan_name(config), Plan())

    def root(self, config: ProviderConfig) -> str:
        """The root of all paths, without a slash at its end. Raises as `plan_name`, unless the settings name a `base_url`."""
        return (config.base_url or self.plan_base_urls.get(self.plan_name(config), self.base_url)).rstrip("/")

    def headers(self, config: ProviderConfig) -> dict[str, str]:
        """The header with the API key; none in a plan without one. Raises as `plan_name`."""
        plan, key = self.plan_name(config), config.api_key
        return {self.key_headers[plan]: key.get_secret_value()} if key is not None and plan in self.key_headers else {}

    def interval_s(self, config: ProviderConfig) -> float:
        """Shortest time between two calls: the setting, else the provider's own; none at another `base_url`."""
        if config.min_interval_s is not None:
            return config.min_interval_s
        return 0.0 if config.base_url else self.min_interval_s
