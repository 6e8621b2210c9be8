"""Unknown names of settings are refused with the most similar name. Errors contain the location of the setting."""

# ruff: noqa: E501, ISC004 (whole messages, each on its line)

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cryptoviz.errors import SettingsError
from cryptoviz.settings import Settings, load_settings, load_settings_file
from cryptoviz.settings.names import INTERNAL_NAMES, known_names
from tests.support.settings import forget_settings

ROOT = Path(__file__).resolve().parents[3]
LISTS = "`cryptoviz config` lists all"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


def refused() -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return caught.value


MISSPELT = [
    ("CRYPTOVIZ_COLECT__TICK_S", "CRYPTOVIZ_COLLECT__TICK_S"),
    ("CRYPTOVIZ_COLLECT__TICKS", "CRYPTOVIZ_COLLECT__TICK_S"),
    ("CRYPTOVIZ_COLLECT_TICK_S", "CRYPTOVIZ_COLLECT__TICK_S"),
    ("CRYPTOVIZ_TICK_S", "CRYPTOVIZ_COLLECT__TICK_S"),
    ("cryptoviz_colect__tick_s", "CRYPTOVIZ_COLLECT__TICK_S"),
    ("CRYPTOVIZ_COLLECT__TICK_S__X", "CRYPTOVIZ_COLLECT__TICK_S"),
    ("CRYPTOVIZ_COLLECT__", "CRYPTOVIZ_COLLECT"),
    ("CRYPTOVIZ_COLLECTION", "CRYPTOVIZ_COLLECT"),
    ("CRYPTOVIZ_HOMES", "CRYPTOVIZ_HOME"),
    ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVER", "CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS"),
    ("CRYPTOVIZ_S3__SECRETKEY", "CRYPTOVIZ_S3__SECRET_KEY"),
    ("CRYPTOVIZ_LAKE__PRICES_BUCKET", "CRYPTOVIZ_S3__PRICES_BUCKET"),
    ("CRYPTOVIZ_PROVIDERS__KRAKEN__API_KY", "CRYPTOVIZ_PROVIDERS__KRAKEN__API_KEY"),
    ("CRYPTOVIZ_PROVIDERS__KRAKEN__QUOTA__PER_MONT", "CRYPTOVIZ_PROVIDERS__KRAKEN__QUOTA__PER_MONTH"),
    ("CRYPTOVIZ_PROVIDERS__ACME__API_KY", "CRYPTOVIZ_PROVIDERS__ACME__API_KEY"),
    ("CRYPTOVIZ_EXTRA_ASSET", "CRYPTOVIZ_EXTRA_ASSETS"),
    ("CRYPTOVIS_COLLECT__TICK_S", "CRYPTOVIZ_COLLECT__TICK_S"),
    ("CRYPTO_VIZ_COLLECT__TICK_S", "CRYPTOVIZ_COLLECT__TICK_S"),
]


@pytest.mark.parametrize(("name", "nearest"), MISSPELT)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_an_unknown_name_is_refused_with_the_most_similar_one(name: str, nearest: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ""
    if where == "environment":
        monkeypatch.setenv(name, "canary-77")
    else:
        Path(".env").write_text(f"# mine\nOTHER=1\n\n{name}=canary-77\n")
        place = f" (line 4 of {Path('.env').absolute()})"
    error = refused()
    assert error.message == f"{name} is not a setting: did you mean {nearest}? {LISTS}{place}"
    assert error.setting == name


def test_an_unknown_name_without_a_similar_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_ZZZZZZ", "1")
    assert refused().message == f"CRYPTOVIZ_ZZZZZZ is not a setting: {LISTS}"


def test_the_profile_is_selected_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOVIZ_PROFILE", "demo")
    assert refused().message == (
        "CRYPTOVIZ_PROFILE cannot be set: the command selects the profile, live by `cryptoviz up` and demo by `cryptoviz demo`"
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CRYPTO_LISTS", "CRYPTO_LIST"),
        ("CRYPTOLIST", "CRYPTO_LIST"),
        ("COINGEKO_API_KEY", "COINGECKO_API_KEY"),
        ("COINMARKETCAP_APIKEY", "COINMARKETCAP_API_KEY"),
        ("coinmarketcap_api_key", "COINMARKETCAP_API_KEY"),
        ("REDPANDA_BROKER", "REDPANDA_BROKERS"),
        ("MINIO_ROOT_PASWORD", "MINIO_ROOT_PASSWORD"),
    ],
)
def test_misspelt_names_of_the_predecessor_in_dotenv(name: str, nearest: str) -> None:
    Path(".env").write_text(f"{name}=canary-77\n")
    assert refused().message == f"{name} is not a setting: did you mean {nearest}? {LISTS} (line 1 of {Path('.env').absolute()})"


def test_names_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    others = (
        "OTHER",
        "CRYPTO_KEY",
        "MINIO_ROOT_USER_FILE",
        "MINIO_ENDPOINT",
        "COINGECKO_URL",
        "COINMARKETCAP_API_URL",
        "KAFKA_PORT",
        "CRYPTO__X",
        "TICK_S",
    )
    Path(".env").write_text("".join(f"{name}=1\n" for name in others))
    for name in others:
        monkeypatch.setenv(name, "1")
    assert load_settings().collect.tick_s == 60.0


def test_internal_variables_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"CRYPTOVIZ_SETTINGS_FILE", "CRYPTOVIZ_CLUSTER", "CRYPTOVIZ_LAKE_RUN"} == INTERNAL_NAMES
    for name in (*INTERNAL_NAMES, "CRYPTOVIZ_TEST_ROUNDS", "CRYPTOVIZ_TEST_SEED"):
        monkeypatch.setenv(name, "1")
    assert load_settings().collect.tick_s == 60.0
    Path(".env").write_text("CRYPTOVIZ_CLUSTER=1\n")
    assert refused().setting == "CRYPTOVIZ_CLUSTER"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CRYPTOVIZ_COLLECT", '{"ticks": 5}', f"CRYPTOVIZ_COLLECT__TICKS is not a setting: did you mean CRYPTOVIZ_COLLECT__TICK_S? {LISTS}"),
        (
            "CRYPTOVIZ_PROVIDERS",
            '{"kraken": {"quota": {"per_dy": 5}}}',
            f"CRYPTOVIZ_PROVIDERS__KRAKEN__QUOTA__PER_DY is not a setting: did you mean CRYPTOVIZ_PROVIDERS__KRAKEN__QUOTA__PER_DAY? {LISTS}",
        ),
        (
            "CRYPTOVIZ_MARKET__LIMITS",
            '{"kraken": {"per_minut": 5}}',
            f"CRYPTOVIZ_MARKET__LIMITS__KRAKEN__PER_MINUT is not a setting: did you mean CRYPTOVIZ_MARKET__LIMITS__KRAKEN__PER_MINUTE? {LISTS}",
        ),
    ],
)
def test_a_field_inside_json(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert refused().message.startswith(message)


def test_arguments_and_files_of_a_parent(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(colect={"tick_s": 5})
    assert caught.value.message == f"CRYPTOVIZ_COLECT is not a setting: did you mean CRYPTOVIZ_COLLECT? {LISTS}"
    path = tmp_path / "settings.json"
    for content, message in (
        ({"colect": {"tick_s": 5}}, f"CRYPTOVIZ_COLECT is not a setting: did you mean CRYPTOVIZ_COLLECT? {LISTS}"),
        ({"collect": {"ticks": 5}}, f"CRYPTOVIZ_COLLECT__TICKS is not a setting: did you mean CRYPTOVIZ_COLLECT__TICK_S? {LISTS}"),
        (
            {"kafka": {"port": "canary-77"}},
            "CRYPTOVIZ_KAFKA__PORT is (hidden): Input should be a valid integer, unable to parse string as an integer",
        ),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(SettingsError) as caught:
            load_settings_file(path)
        assert caught.value.message == f"the settings file {path} cannot be used: {message}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("\nCRYPTOVIZ_S3__PORT=70000", "CRYPTOVIZ_S3__PORT is '70000': Input should be less than or equal to 65535 (line 2 of {env})"),
        (
            "REDPANDA_BROKERS=broker",
            "CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS is 'broker': valid is host:port, or several of them with commas between them "
            "(CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS is set by REDPANDA_BROKERS in line 1 of {env})",
        ),
        (
            "CRYPTOVIZ_REDIS__PORT=9002\nA=1\nCRYPTOVIZ_S3__PORT=9002",
            "CRYPTOVIZ_S3__PORT (MinIO) and CRYPTOVIZ_REDIS__PORT (Redis) are both 9002: each listener needs a port of its own "
            "(CRYPTOVIZ_REDIS__PORT: line 1 of {env}; CRYPTOVIZ_S3__PORT: line 3 of {env})",
        ),
        (
            "CRYPTOVIZ_REDIS__PORT=9002",
            "CRYPTOVIZ_S3__PORT (MinIO) and CRYPTOVIZ_REDIS__PORT (Redis) are both 9002: each listener needs a port of its own "
            "(CRYPTOVIZ_REDIS__PORT: line 1 of {env})",
        ),
        (
            'A=1\nCRYPTOVIZ_COLLECT={{"tick_s": 0.1}}',
            "CRYPTOVIZ_COLLECT__TICK_S is 0.1: Input should be greater than or equal to 0.5 "
            "(CRYPTOVIZ_COLLECT__TICK_S is set by CRYPTOVIZ_COLLECT in line 2 of {env})",
        ),
        (
            "A=1\nCRYPTOVIZ_PROVIDERS__COINGEKO__TIMEOUT_S=5",
            "CRYPTOVIZ_PROVIDERS names 'coingeko', which is not a provider (did you mean coingecko?): valid are coingecko, coinmarketcap, binance, kraken, "
            "coinpaprika, coinbase (CRYPTOVIZ_PROVIDERS__COINGEKO is set by CRYPTOVIZ_PROVIDERS__COINGEKO__TIMEOUT_S in line 2 of {env})",
        ),
    ],
)
def test_errors_contain_the_line_of_dotenv(lines: str, message: str) -> None:
    Path(".env").write_text(lines.replace("{{", "{").replace("}}", "}") + "\n")
    assert refused().message == message.format(env=Path(".env").absolute())


def test_an_error_of_a_variable_that_overrides_dotenv_has_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CRYPTOVIZ_S3__PORT=70000\n")
    monkeypatch.setenv("CRYPTOVIZ_S3__PORT", "80000")
    assert refused().message == "CRYPTOVIZ_S3__PORT is '80000': Input should be less than or equal to 65535"


def documented_names() -> set[str]:
    files = [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / ".env.example", ROOT / "cluster.yaml", *ROOT.glob("examples/*.py")]
    return {name for file in files for name in re.findall(r"\bCRYPTOVIZ_[A-Z0-9]+(?:_+[A-Z0-9]+)*(?![A-Z0-9_{<])", file.read_text(encoding="utf-8"))}


def test_every_documented_name_is_a_setting() -> None:
    misspelt = {"CRYPTOVIZ_COLECT__TICK_S"}  # the example of a refused name
    names = {name for name in documented_names() - misspelt if not name.startswith("CRYPTOVIZ_TEST_")}
    assert len(names) >= 40
    known = set(known_names(Settings))
    unknown = {name for name in names if name not in known and "__ACME__" not in name and name.replace("__ACME__", "__KRAKEN__") not in known}
    assert unknown == set()


def test_every_line_of_the_dotenv_example_is_valid() -> None:
    """Unchanged, and with each commented line enabled."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    Path(".env").write_text(text)
    load_settings()
    for line in text.splitlines():
        if re.match(r"#[A-Z_]+=", line):
            Path(".env").write_text(line.removeprefix("#") + "\n")
            load_settings()
            load_settings("demo")


def test_every_setting_in_a_code_block_of_the_documentation_is_valid() -> None:
    found = 0
    for page in ROOT.glob("docs/*.md"):
        for language, block in re.findall(r"```(bash|sh|ini|dotenv|)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = [
                line
                for line in re.findall(r"^((?:CRYPTOVIZ_|CRYPTO_LIST)[A-Z0-9_]*=.*)$", block, re.MULTILINE)
                if "ACME" not in line and "acme" not in line and not line.endswith("...")
            ]
            found += len(lines)
            # A block of a `.env` file holds as a whole.
            for text in [block] if language in ("ini", "dotenv") and lines else lines:
                Path(".env").write_text(text + "\n")
                load_settings()
                load_settings("demo")
    assert found >= 5
