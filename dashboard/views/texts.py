"""Texts of the page in its languages, by key. Pages add theirs as a mapping of (English, French) in `CATALOGUES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dashboard.views.texts_market import MARKET_TEXTS

__all__ = ["LANGUAGES", "catalogue", "language_of", "texts"]

LANGUAGES = ("en", "fr")

_FRAME: dict[str, tuple[str, str]] = {
    "market": ("Market", "Marché"),
    "coin": ("Coin", "Monnaie"),
    "pipeline": ("Pipeline", "Pipeline"),
    "theme": ("Toggle theme", "Changer de thème"),
    "language": ("Français", "English"),
    "clock": ("Local time or UTC", "Heure locale ou UTC"),
    "help": ("Keys", "Touches"),
    "close": ("Close", "Fermer"),
    "confirm": ("Confirm", "Confirmer"),
    "cancel": ("Cancel", "Annuler"),
    "please_confirm": ("Please confirm", "Veuillez confirmer"),
    "server_lost": ("Server lost.", "Serveur perdu."),
    "server_lost_means": (
        "The last known values are shown, and their ages are right. Reconnecting…",
        "Les dernières valeurs connues sont affichées, avec leur âge exact. Reconnexion…",
    ),
    "help_search": ("Search a coin", "Chercher une monnaie"),
    "help_help": ("Show the keys", "Afficher les touches"),
    "help_move": ("Next, previous coin", "Monnaie suivante, précédente"),
    "help_watch": ("Star the coin", "Suivre la monnaie"),
    "help_interval": ("Interval 1m, 5m, 1h, 1d", "Intervalle 1m, 5m, 1h, 1d"),
    "help_now": ("Chart to now", "Graphique à maintenant"),
    "help_view": ("Market, coin, pipeline", "Marché, monnaie, pipeline"),
    "skip": ("Skip to the content", "Aller au contenu"),
    "live": ("live", "en direct"),
    "late": ("late", "en retard"),
    "stale": ("stale", "périmé"),
    "no-data": ("no data", "sans données"),
}

CATALOGUES: tuple[Mapping[str, tuple[str, str]], ...] = (_FRAME, MARKET_TEXTS)


def language_of(accepted: str) -> str:
    """The first language of `LANGUAGES` in an Accept-Language header (untrusted), by its order; English if none."""
    for part in accepted.lower().split(","):
        name = part.partition(";")[0].strip().partition("-")[0]
        if name in LANGUAGES:
            return name
    return LANGUAGES[0]


def catalogue(language: str) -> dict[str, str]:
    """All texts of a language."""
    which = LANGUAGES.index(language)
    return {key: both[which] for texts in CATALOGUES for key, both in texts.items()}


def texts(language: str) -> Callable[[str], str]:
    """Look-up of texts by key."""
    return catalogue(language).__getitem__
