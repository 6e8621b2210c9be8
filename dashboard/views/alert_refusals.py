"""Why a rule was refused, in the language of the page. Pure."""

from __future__ import annotations

import re

from cryptoviz.errors import AlertRefused
from dashboard.views.texts import Texts

__all__ = ["refusal_text"]

_LABELS = {
    "above": "alert_threshold", "below": "alert_threshold", "subject": "alert_subject", "kind": "alert_kind", "over": "alert_over",
    "state": "alert_state", "quote": "alert_quote", "hysteresis": "alert_hysteresis", "cool-down": "alert_cool_down", "note": "alert_note",
}  # fmt: skip
# What `cryptoviz.alerts.draft` says is valid. Names, numbers and examples stay.
_FRENCH = (
    (r"a price above 0, such as (\S+) or (\S+)", r"un prix supérieur à 0, comme \1 ou \2"),
    (r"a percentage other than 0, from (\S+): (\S+), or (\S+)", r"un pourcentage autre que 0, à partir de \1 : \2 ou \3"),
    (r"a duration from (\S+) to (\S+), such as (\S+) or (\S+)", r"une durée de \1 à \2, comme \3 ou \4"),
    (r"basis points from (\S+), such as (\S+)", r"des points de base à partir de \1, comme \2"),
    (r"a whole number of missing ticks, from (\S+)", r"un nombre entier de relevés manquants, à partir de \1"),
    (r", as above or below", ""),
    (r"a whole number of s, m, h or d, such as (.*)", r"un nombre entier de s, m, h ou d, comme \1"),
    (r"(\d+) to (\d+), in percent", r"\1 à \2, en pour cent"),
    (r"a currency of (\d+) to (\d+) letters and digits, such as (\S+) or (\S+)", r"une devise de \1 à \2 lettres et chiffres, comme \3 ou \4"),
    (r"at most (\d+) printable characters", r"au plus \1 caractères imprimables"),
    (r"\((\d+) ticks\), or (.*), whose change the providers report", r"(\1 relevés), ou \2, dont les fournisseurs donnent la variation"),
    (r"(\d+) s to (\d+) s", r"\1 s à \2 s"),
    (r"all, or ", "all, ou "),
    (r" \(did you mean (.*)\?\)", r" (vouliez-vous dire \1 ?)"),
    (r"^none$", "aucune valeur pour ce qui est surveillé"),
    (r"^one of them$", "un seul des deux côtés"),
)


def refusal_text(error: AlertRefused, t: Texts) -> str:
    """The refusal as a notice. In English the error's own text."""
    if not error.valid:
        return str(error)
    valid = error.valid
    for english, french in _FRENCH:
        valid = re.sub(english, french, valid)
    label = _LABELS.get(error.field)
    return t("alert_refused").format(error=error, name=t(label) if label else error.field, value=error.value, valid=valid)
