"""Texts of the page in its languages, by key. Pages add theirs as a mapping of (English, French) in `CATALOGUES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar

from dashboard.views.texts_alerts import ALERT_TEXTS
from dashboard.views.texts_market import MARKET_TEXTS
from dashboard.views.texts_phrases import FRENCH
from dashboard.views.texts_trades import TRADE_TEXTS

__all__ = ["ENGLISH", "LANGUAGES", "Texts", "catalogue", "language_of", "say", "speak", "spoken", "texts"]

LANGUAGES = ("en", "fr")

_FRAME: dict[str, tuple[str, str]] = {
    "market": ("Market", "Marché"),
    "coin": ("Coin", "Monnaie"),
    "pipeline": ("Pipeline", "Pipeline"),
    "providers": ("Providers", "Fournisseurs"),
    "topics": ("Topics", "Topics"),
    "lake": ("Lake", "Lac"),
    "sign_out": ("Sign out", "Se déconnecter"),
    "sign_in": ("Sign in", "Se connecter"),
    "sign_in_token": ("Token", "Jeton"),
    "sign_in_help": (
        "The owner's token is in the file {file} of the pipeline's home. For others, {command} (or {operate}) prints one.",
        "Le jeton du propriétaire est dans le fichier {file} du dossier du pipeline. Pour les autres, {command} (ou {operate}) en donne un.",
    ),
    "sign_in_wrong": ("This token is not valid.", "Ce jeton n'est pas valable."),
    "sign_in_wait": ("Too many wrong tokens: try again in {seconds} s.", "Trop de jetons faux : réessayer dans {seconds} s."),
    "busy": (
        "Many pages are being opened. This page reloads in a moment.",
        "Beaucoup de pages s'ouvrent en ce moment. Celle-ci se recharge dans un instant.",
    ),
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
    "market_cap": ("Market cap", "Capitalisation"),
    "volume": ("24h volume", "Volume 24 h"),
    "replayed": ("REPLAYED DATA", "DONNÉES REJOUÉES"),
    "replayed_note": (
        "Prices are from the replay market: recorded history shifted to now, not live",
        "Les prix viennent du marché rejoué : un historique enregistré, décalé à maintenant, pas en direct",
    ),
    "no_answer": ("No answer yet", "Pas encore de réponse"),
    "feed_lost": ("Live data lost.", "Données en direct perdues."),
    "feed_lost_means": ("The last known prices are shown. Reconnecting…", "Les derniers prix connus sont affichés. Reconnexion…"),
    "control_lost": ("Control service lost.", "Service de contrôle perdu."),
    "control_lost_means": (
        "The last known states are shown; buttons may fail. Reconnecting…",
        "Les derniers états connus sont affichés ; les boutons peuvent échouer. Reconnexion…",
    ),
    "saved_here": ("Saved here", "Gardées ici"),
    "name": ("Name", "Nom"),
    "save": ("Save", "Garder"),
    "save_query": ("Save the query", "Garder la requête"),
    "too_long": ("Not sent: {count} characters, at most {limit} are allowed.", "Pas envoyé : {count} caractères, {limit} au plus."),
    "name_too_long": (
        "Not saved: the name has {count} characters, at most {limit} are allowed.",
        "Pas gardée : le nom a {count} caractères, {limit} au plus.",
    ),
    "too_many_queries": (
        "Not saved: {limit} queries are kept at most. Remove one first.",
        "Pas gardée : {limit} requêtes au plus. En supprimer une d'abord.",
    ),
    "store_full": ("Not saved: the browser's storage is full.", "Pas gardée : le stockage du navigateur est plein."),
    "remove_query": ("Remove the query {name}", "Supprimer la requête {name}"),
    "remove_query_question": ("Remove the saved query {name}?", "Supprimer la requête gardée {name} ?"),
    "skip": ("Skip to the content", "Aller au contenu"),
    "live": ("live", "en direct"),
    "late": ("late", "en retard"),
    "stale": ("stale", "périmé"),
    "no-data": ("no data", "sans données"),
}

CATALOGUES: tuple[Mapping[str, tuple[str, str]], ...] = (_FRAME, MARKET_TEXTS, TRADE_TEXTS, ALERT_TEXTS)


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


Texts = Callable[[str], str]
"""Look-up of texts by key."""


def texts(language: str) -> Texts:
    """The texts of a language."""
    return catalogue(language).__getitem__


ENGLISH = texts("en")


_SPOKEN: ContextVar[str] = ContextVar("language", default=LANGUAGES[0])


def speak(language: str) -> None:
    """The language of `say` in this context: a session sets it before its page writes anything."""
    _SPOKEN.set(language)


def spoken() -> str:
    """The language of this context."""
    return _SPOKEN.get()


def say(english: str, **values: object) -> str:
    """A phrase in the language of the page, with `{name}` replaced by the value of that name; in English if there is no French for it."""
    phrase = FRENCH.get(english, english) if _SPOKEN.get() == "fr" else english
    return phrase.format(**values) if values else phrase
