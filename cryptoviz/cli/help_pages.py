"""What the help of each command ends with: an example and the exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typer._click import Command

__all__ = ["EXAMPLES", "EXIT_CODES", "FINDINGS", "ROOT_EPILOG", "add_epilog"]

EXIT_CODES: Final[dict[int, str]] = {
    0: "success",
    1: "error, with one message on stderr",
    2: "wrong usage: unknown command or option, missing or invalid argument",
    130: "interrupted by Ctrl-C",
}
FINDINGS: Final[dict[str, str]] = {
    "start": "the component failed or is not RUNNING in time",
    "stop": "not confirmed, or the component is not STOPPED in time",
    "restart": "the component failed or is not RUNNING in time",
    "verify": "Kafka and the lake differ",
    "doctor": "the pipeline could not start",
    "backfill": "the operation did not succeed",
    "maintain": "the operation did not succeed",
    "operations resume": "the operation did not succeed",
    "operations verify": "Kafka and the lake differ, or the operation did not succeed",
    "dead-letters replay": "the operation did not succeed",
    "replay": "a row differs, is missing or is extra, or the operation did not succeed",
    "streams replay": "a trade differs, is missing, extra or doubled, or a record is no frame",
    "down": "not confirmed",
    "providers trip": "not confirmed",
    "tokens revoke": "not confirmed",
    "alerts remove": "not confirmed",
    "alerts test": "a receiver did not take the message",
    "reset": "not confirmed",
    "up": "the cluster ended unexpectedly",
    "demo": "the cluster ended unexpectedly",
}
"""What exit code 1 also means, by command."""
EXAMPLES: Final[dict[str, str]] = {
    "up": "cryptoviz up --detach",
    "demo": "cryptoviz demo",
    "down": "cryptoviz down",
    "status": "cryptoviz status --watch",
    "start": "cryptoviz start scraper/coingecko --wait 30",
    "stop": "cryptoviz stop scraper/coingecko",
    "restart": "cryptoviz restart lake",
    "logs": "cryptoviz logs collector -n 20 -f",
    "providers": "cryptoviz providers --json",
    "providers trip": "cryptoviz providers trip kraken --reason 'wrong prices'",
    "providers reset": "cryptoviz providers reset kraken",
    "streams": "cryptoviz streams --json",
    "streams replay": "cryptoviz streams replay kraken --from 2026-01-31T12:00:00Z --to 2026-01-31T12:05:00Z",
    "calls": "cryptoviz calls --json",
    "alerts": "cryptoviz alerts add price bitcoin --above 100000",
    "alerts list": "cryptoviz alerts list --json",
    "alerts add": "cryptoviz alerts add change BTC --below -5 --over 15m --cool-down 1h",
    "alerts remove": "cryptoviz alerts remove 4f1c9a --yes",
    "alerts mute": "cryptoviz alerts mute 4f1c9a",
    "alerts unmute": "cryptoviz alerts unmute 4f1c9a",
    "alerts test": "cryptoviz alerts test",
    "alerts history": "cryptoviz alerts history -n 20",
    "query": 'cryptoviz query "SELECT symbol, price FROM prices ORDER BY tick_ts DESC LIMIT 17"',
    "verify": "cryptoviz verify --json",
    "dead-letters": "cryptoviz dead-letters --reason not_json --export letters.csv",
    "dead-letters replay": "cryptoviz dead-letters replay --reason not_json",
    "gaps": "cryptoviz gaps --assets BTC,ETH --from 2026-01-31T12:00:00Z",
    "backfill": "cryptoviz backfill --assets BTC --from 2026-01-31T12:00:00Z",
    "replay": "cryptoviz replay --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z",
    "maintain": "cryptoviz maintain --table prices",
    "operations": "cryptoviz operations --json",
    "operations watch": "cryptoviz operations watch 1f0c",
    "operations cancel": "cryptoviz operations cancel 1f0c",
    "operations resume": "cryptoviz operations resume 1f0c",
    "operations verify": "cryptoviz operations verify",
    "tokens": "cryptoviz tokens add grafana --role read",
    "tokens add": "cryptoviz tokens add grafana --role read",
    "tokens list": "cryptoviz tokens list",
    "tokens rotate": "cryptoviz tokens rotate grafana",
    "tokens revoke": "cryptoviz tokens revoke grafana --yes",
    "doctor": "cryptoviz doctor --fix",
    "config": "cryptoviz config --json",
    "reset": "cryptoviz reset --demo --yes",
}
"""By command."""


def _codes(finding: str = "") -> str:
    """A paragraph with a line for each code. Its first line, a backspace, keeps it from being wrapped."""
    texts = EXIT_CODES | ({1: f"{finding}; or an error, with one message on stderr"} if finding else {})
    return "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {text}" for code, text in texts.items())


ROOT_EPILOG: Final = f"{_codes()}\n\n`cryptoviz COMMAND --help` shows the options, an example and the exit codes of a command."


def add_epilog(path: str, command: Command) -> None:
    """Complete the help of a command and its subcommands."""
    command.epilog = f"\b\nExample:\n  {EXAMPLES.get(path, f'cryptoviz {path}')}\n\n{_codes(FINDINGS.get(path, ''))}"
    for name, below in getattr(command, "commands", {}).items():
        add_epilog(f"{path} {name}", below)
