"""Refused rules in the language of the page."""

from __future__ import annotations

import re

import pytest

from cryptoviz.alerts.draft import Draft, Known, make_rule
from cryptoviz.errors import AlertRefused
from cryptoviz.settings import load_settings
from dashboard.views.alert_refusals import refusal_text
from dashboard.views.texts import texts

KNOWN = Known(load_settings().assets, 2_000, 50.0, ("lake", "collector"))
ENGLISH = re.compile(r"\b(a|the|or|to|from|such as|of|at most|valid is|did you mean|none|one of)\b")


def refused(**draft: object) -> AlertRefused:
    with pytest.raises(AlertRefused) as caught:
        make_rule(Draft(**({"kind": "price", "subject": "bitcoin", "above": "1"} | draft)), "r1", 0, KNOWN)  # type: ignore[arg-type]
    return caught.value


# Label, value and what is valid.
CASES: dict[str, tuple[dict[str, object], str]] = {
    "price": ({"above": "x"}, "Seuil|x|un prix supérieur à 0, comme 100000 ou 0.25"),
    "no threshold": ({"above": ""}, "Seuil||un prix supérieur à 0, comme 100000 ou 0.25"),
    "change": (
        {"kind": "change", "above": "0", "over": "1h"},
        "Seuil|0|un pourcentage autre que 0, à partir de -100 : 5 ou -2.5",
    ),
    "window": (
        {"kind": "change", "above": "5", "over": "5h"},
        "Fenêtre|5h|2 s à 7200 s (3600 relevés), ou 1h, 24h, 7d, dont les fournisseurs donnent la variation",
    ),
    "duration": (
        {"kind": "staleness", "above": "soon"},
        "Seuil|soon|un nombre entier de s, m, h ou d, comme 90s, 5m, 2h",
    ),
    "staleness": ({"kind": "staleness", "above": "99d"}, "Seuil|8553600|une durée de 1s à 30d, comme 90s ou 5m"),
    "points": ({"kind": "disagreement", "above": "0"}, "Seuil|0|des points de base à partir de 0.01, comme 50"),
    "gap": ({"kind": "gap", "above": "1.5"}, "Seuil|1.5|un nombre entier de relevés manquants, à partir de 1"),
    "hysteresis": ({"hysteresis_pct": "101"}, "Hystérésis %|101|0 à 100, en pour cent"),
    "cool-down": ({"cool_down": "99d"}, "Délai|99d|0 s à 2592000 s"),
    "quote": ({"quote_currency": "€"}, "Devise|€|une devise de 2 à 10 lettres et chiffres, comme USD ou EUR"),
    "note": ({"note": "x" * 201}, f"Note|{'x' * 64}|au plus 200 caractères imprimables"),
    "component": (
        {"kind": "component", "subject": "lak", "above": ""},
        "De|lak|all, lake, collector (vouliez-vous dire lake ?)",
    ),
    "no meaning": ({"kind": "gap", "quote_currency": "EUR"}, "Devise|EUR|aucune valeur pour ce qui est surveillé"),
    "two sides": ({"below": "2"}, "Seuil|2|un seul des deux côtés"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_french_page_says_it_in_french_and_an_english_one_as_the_command(name: str) -> None:
    draft, french = CASES[name]
    error = refused(**draft)
    label, value, valid = french.split("|")
    assert refusal_text(error, texts("fr")) == f"{label} : « {value} » n'est pas valide. Valide : {valid}"
    assert ENGLISH.search(valid) is None
    assert refusal_text(error, texts("en")) == str(error)
