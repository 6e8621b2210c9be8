"""A whole pipeline with a canary in every credential, with mutual TLS and named tokens, at DEBUG, from a hostile shell, through faults.

No canary shows in any output.

Variables of the shell change no result, and no process connects to their addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pytest
import redis

from cryptoviz.engines.ray_folder import ray_folder
from cryptoviz.errors import ControlRefused, TransientError
from cryptoviz.lake import Lake
from cryptoviz.security.tokens import Role, new_token
from cryptoviz.settings import Settings, load_settings, load_settings_file
from market.server import ReplayMarket
from tests.support import outputs
from tests.support.canaries import Look, places_of, secret_fields
from tests.support.certificates import authority, certificate
from tests.support.echo import ECHOED, Echo, echoing
from tests.support.files import contents
from tests.support.pipeline import CRYPTOVIZ, Demo, environment, secrets_of
from tests.support.processes import kill_all, processes_of
from tests.support.shell import SHELL_VALUE, Recorder, hostile_shell, recording
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800), pytest.mark.alone]

KEYED = ("coingecko", "coinmarketcap", "coinpaprika")
CANARIES = {
    "coingecko": 'CG-canary"key%7f\\3a',
    "coinmarketcap": "canary-cmc-key-0c1d",
    "coinpaprika": "canary-paprika-<&b7>",
    "s3": "canary-minio-77a0b1",
    "redis": "canary/redis@5e:1",
    "kafka": 'canary-kafka"\\6b2',
    "userinfo": "canary-userinfo-91",
    "proxy": "canary-proxy-42-e9",
    "maven": "canary-maven-17-c4",
    "tracing": "canary-tracing-55-d1",
    "refill": "canary-refill-19-b4",
    "webhook": "canary-webhook-23-a7",
    "webhook token": "canary-hook-token-61",
    "smtp": "canary-smtp-88-f0",
}
NO_USER = {"s3.endpoint", "tracing.endpoint", "streams.venue.stream_url"}
"""Addresses that are refused with a user or password in them."""
# Another home of the same user: passwords that are wrong for the running engines, and an address with a password.
WRONG = {name: f"canary-wrong-{name}-2f" for name in ("kafka", "s3", "redis", "endpoint")}
PLANTED = "planted-7d20e6b1"
"""In the names of the home and of a topic, and so in arguments, environments, logs, plans and settings that are shown."""
CONTROLS = {"planted": PLANTED, "echoed": ECHOED, "provider": KEYED[0]}
"""What each kind of output has at least one of; the log of a table has names of providers in its statistics."""
COMMANDS = (
    ("status",), ("providers",), ("gaps", "--json"), ("config", "--json"), ("doctor",), ("verify", "--json"), ("logs", "scraper/coingecko"),
    ("query", "SELECT endpoint, error, body FROM raw", "--json"), ("tokens", "list", "--json"), ("operations", "verify", "--json"),
    ("alerts", "add", "price", "bitcoin", "--above", "0.001"), ("alerts", "test"), ("alerts", "history", "--json"), ("alerts", "list"),
)  # fmt: skip
QUERY, VERIFY = ("query", "SELECT * FROM prices"), ("verify",)
ENGINES = ("kafka", "object-store", "redis", "lake", "collector", "dashboard")


@dataclass
class Whole:
    """The pipeline, the servers around it, and the outputs of commands by name."""

    pipeline: Demo
    echo: Echo
    trap: Recorder
    said: dict[str, str]
    tokens: dict[str, str]
    keys: dict[str, str]


@pytest.fixture(scope="module")
def market() -> Iterator[ReplayMarket]:
    """The market for the provider without a key."""
    made = ReplayMarket()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(made.start(), loop).result(240)
    yield made
    asyncio.run_coroutine_threadsafe(made.stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def canary_environment(home: Path, market: ReplayMarket, echo: Echo) -> dict[str, str]:
    """Environment of `up`: the providers with keys, and a proxy in front of one, echo what they receive."""
    providers = {f"CRYPTOVIZ_PROVIDERS__{name.upper()}__API_KEY": CANARIES[name] for name in KEYED}
    bases = {
        "kraken": market.base_url("kraken"),
        "coingecko": f"http://user:{CANARIES['userinfo']}@127.0.0.1:{echo.port}/coingecko",
        "coinmarketcap": f"http://127.0.0.1:{echo.port}/coinmarketcap",
        "coinpaprika": "http://coinpaprika",
    }
    for name, base in bases.items():
        prefix = f"CRYPTOVIZ_PROVIDERS__{name.upper()}"
        providers |= {f"{prefix}__BASE_URL": base, f"{prefix}__RATE_LIMIT_WAIT_S": "0.5", f"{prefix}__MAX_WAIT_S": "1"}
        providers |= {f"{prefix}__BREAKER__FAILURES": "1000"}
    return (
        environment(home, 2.0)
        | providers
        | {
            "CRYPTOVIZ_LOG_LEVEL": "DEBUG",
            "CRYPTOVIZ_KAFKA__RAW_TOPIC": PLANTED,
            "CRYPTOVIZ_LAKE__TRIGGER_MS": "1000",
            "CRYPTOVIZ_CACHE": str(load_settings().cache),
            "CRYPTOVIZ_COLLECT__PROVIDERS": json.dumps(list(bases)),
            "CRYPTOVIZ_NETWORK__PROXY_URL": f"http://user:{CANARIES['proxy']}@127.0.0.1:{echo.port}",
            "CRYPTOVIZ_DOWNLOADS__MAVEN_URL": f"https://user:{CANARIES['maven']}@repo.example/maven2",
            "CRYPTOVIZ_S3__SECRET_KEY": CANARIES["s3"],
            "CRYPTOVIZ_REDIS__PASSWORD": CANARIES["redis"],
            "CRYPTOVIZ_KAFKA__SASL_PASSWORD": CANARIES["kafka"],
            "CRYPTOVIZ_STREAMS__VENUE__KRAKEN__REFILL_URL": f"https://user:{CANARIES['refill']}@127.0.0.1:9",
            "CRYPTOVIZ_TRACING__ENDPOINT": "http://127.0.0.1:9",  # no receiver
            "CRYPTOVIZ_ALERTS__WEBHOOK_URL": f"http://127.0.0.1:9/{CANARIES['webhook']}",
            "CRYPTOVIZ_ALERTS__WEBHOOK_TOKEN": CANARIES["webhook token"],
            "CRYPTOVIZ_ALERTS__SMTP_HOST": "127.0.0.1",
            "CRYPTOVIZ_ALERTS__SMTP_PORT": "9",
            "CRYPTOVIZ_ALERTS__SMTP_USER": "alerts",
            "CRYPTOVIZ_ALERTS__SMTP_PASSWORD": CANARIES["smtp"],
            "CRYPTOVIZ_ALERTS__MAIL_FROM": "viz@example.org",
            "CRYPTOVIZ_ALERTS__MAIL_TO": "a@example.org",
            "CRYPTOVIZ_TRACING__HEADERS": json.dumps({"authorization": CANARIES["tracing"]}),
        }
    )


def wrong_store(pipeline: Demo) -> dict[str, str]:
    """Environment of another home that uses the running object store as external, with a wrong key."""
    own = {"CRYPTOVIZ_HOME": str(pipeline.settings.home.with_name("other")), "CRYPTOVIZ_S3__SECRET_KEY": WRONG["s3"]}
    return pipeline.env | own | {"CRYPTOVIZ_S3__ENDPOINT": pipeline.settings.s3.endpoint}


def refused_address(pipeline: Demo) -> dict[str, str]:
    """As above, with a password in the store's address, which is not allowed."""
    return wrong_store(pipeline) | {"CRYPTOVIZ_S3__ENDPOINT": pipeline.settings.s3.endpoint.replace("://", f"://user:{WRONG['endpoint']}@")}


def wrong_broker(pipeline: Demo) -> dict[str, str]:
    """Environment of another home that uses the running broker as external, with a wrong password."""
    settings = pipeline.settings
    return pipeline.env | {
        "CRYPTOVIZ_HOME": str(settings.home.with_name("other")),
        "CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "CRYPTOVIZ_KAFKA__SASL_USERNAME": "cryptoviz",
        "CRYPTOVIZ_KAFKA__SASL_PASSWORD": WRONG["kafka"],
        "CRYPTOVIZ_S3__ENDPOINT": settings.s3.endpoint,
        "CRYPTOVIZ_REDIS__URL": f"redis://:{WRONG['redis']}@127.0.0.1:{settings.redis.port}/0",
        "CRYPTOVIZ_REDIS__PASSWORD": WRONG["redis"],
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, market: ReplayMarket) -> Iterator[Whole]:
    """A pipeline after all faults: echoing providers and proxy, wrong passwords, engines that were killed."""
    home = tmp_path_factory.mktemp(PLANTED) / "home"
    with echoing() as echo, recording() as trap:
        certificates, keys = mutual_tls(tmp_path_factory.mktemp("tls"))
        env = canary_environment(home, market, echo) | certificates | hostile_shell(trap, tmp_path_factory.mktemp("user"))
        try:
            started = subprocess.run([CRYPTOVIZ, "up", "--detach"], env=env, capture_output=True, text=True, timeout=600, check=False)
            assert started.returncode == 0, started.stderr + started.stdout
            pipeline = Demo(load_settings_file(home / "run" / "settings.json"), env)
            said = {"up": started.stdout + started.stderr}
            eventually(lambda: answered(lambda: pipeline.metric("lake", "rows_total") > 0), 360, 0.5)
            tokens = {str(role): added_token(env, f"of-{role}", role) for role in Role}
            tokens |= {"wrong": new_token(), "revoked": added_token(env, "revoked", Role.OPERATE)}
            said |= {
                "revoke": run(env, CRYPTOVIZ, "tokens", "revoke", "revoked").stdout,
                **{f"token {who}": used(pipeline, tokens[who]) for who in tokens},
            }
            said |= command_lines(
                ("", env, COMMANDS),
                ("wrong store: ", wrong_store(pipeline), (QUERY,)),
                ("refused address: ", refused_address(pipeline), (("config",),)),
                ("wrong broker: ", wrong_broker(pipeline), (VERIFY,)),
            )
            kill_engines(pipeline)
            said |= command_lines(("killed engines: ", env, (QUERY, VERIFY, ("status", "--json"))))
            # The providers with keys never delivered a price, so that the pipeline as a whole is not RUNNING.
            eventually(lambda: answered(lambda: {pipeline.states()[name] for name in ENGINES} == {"RUNNING"}), 240, 0.5)
            eventually(lambda: all(set(echo.answers[name]) == set(Echo.KINDS) for name in KEYED), 120, 0.5)
            yield Whole(pipeline, echo, trap, said, {f"token {who}": token for who, token in tokens.items()}, keys)
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([CRYPTOVIZ, "down"], env=env, capture_output=True, timeout=300, check=False)
            kill_all(home)


@pytest.fixture(scope="module")
def look(whole: Whole) -> Look:
    """One search of every output."""
    pipeline = whole.pipeline
    store = redis.Redis.from_url(**pipeline.settings.redis.connection(60))
    store.set("planted", PLANTED)
    made = Look(secrets_now(pipeline) | whole.tokens | whole.keys | CONTROLS)
    made.at("command line", whole.said.items())
    made.at("control service", outputs.control_service(pipeline))
    made.at("page", asyncio.run(outputs.page(pipeline, CONTROLS["provider"])))
    made.at("Spark UI", outputs.spark_ui(pipeline.settings))
    made.at("Ray dashboard", outputs.ray_dashboard(pipeline.settings))
    made.at("process arguments", outputs.arguments(pipeline.settings))
    made.at("process environment", outputs.environments(pipeline.settings))
    made.at("Kafka", outputs.kafka_records(pipeline.settings))
    made.at("lake", outputs.objects(pipeline, of_logs=False))
    made.at("Delta log", outputs.objects(pipeline, of_logs=True))
    made.at("Redis", outputs.redis_values(store))
    made.at("home", outputs.files(pipeline.settings.home))
    folder = ray_folder(pipeline.settings)
    assert folder is not None
    made.at("Ray folder", outputs.files(folder))
    return made


def test_every_credential_of_the_settings_has_a_canary(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new setting that can contain a secret fails here until the pipeline above has a canary in it."""
    trees = [whole.pipeline.settings]
    for env in (wrong_store(whole.pipeline), wrong_broker(whole.pipeline)):
        for name in env:
            if name.startswith("CRYPTOVIZ_"):
                monkeypatch.setenv(name, env[name])
        trees.append(load_settings())
    assert "CRYPTOVIZ_S3__ENDPOINT is " in whole.said["refused address: config"]
    canaries = [*CANARIES.values(), *WRONG.values()]
    assert {path for tree in trees for path in places_of(canaries, tree)} == set(secret_fields(Settings)) - NO_USER


def test_no_canary_shows_in_any_output(look: Look) -> None:
    print(f"\nlooked at {sum(look.outputs.values())} outputs of {look.size / 1e6:.0f} MB: {dict(look.outputs)}")
    shown = {place: names for place, found in look.found.items() if (names := found - set(CONTROLS))}
    assert shown == {}


def test_the_look_finds_what_each_kind_of_output_has(look: Look, whole: Whole) -> None:
    """The search works: it finds the planted text in each kind of output, and each canary in its permitted places."""
    assert look.kinds_with(CONTROLS) == set(look.outputs)
    assert look.kinds_with({"echoed"}) >= {"command line", "control service", "Kafka", "lake", "home", "Ray dashboard", "Ray folder"}
    assert "SignatureDoesNotMatch" in whole.said["wrong store: query SELECT * FROM prices"]
    assert "cannot read" in whole.said["wrong broker: verify"]
    home = whole.pipeline.settings.home
    places = {Path(place).relative_to(home).parts[0] for (kind, place), names in look.found.items() if kind == "home" and "echoed" in names}
    assert places >= {"logs", "kafka", "minio"}
    secrets = secrets_now(whole.pipeline)
    holders = Look(secrets)
    holders.at("holders", ((str(path), content) for path, content in contents(home, outputs.holds_secrets)))
    assert {name for names in holders.found.values() for name in names} >= set(secrets) - {"spark", "shell", *(f"wrong {name}" for name in WRONG)}


def test_a_token_works_by_its_role_and_is_in_no_file(look: Look, whole: Whole) -> None:
    """Even the files that hold secrets have only the hashes of named tokens."""
    codes = {who: whole.said[f"token {who}"].split("\n")[0] for who in ("read", "operate", "wrong", "revoked")}
    assert codes == {
        "read": "OK PERMISSION_DENIED", "operate": "OK OK", "wrong": "UNAUTHENTICATED UNAUTHENTICATED", "revoked": "UNAUTHENTICATED UNAUTHENTICATED"
    }  # fmt: skip
    home = whole.pipeline.settings.home
    holders = Look(whole.tokens | whole.keys)
    holders.at("holders", ((str(path), content) for path, content in contents(home, outputs.holds_secrets)))
    assert holders.found == {}
    verified = json.loads(whole.said["operations verify --json"].splitlines()[-1])
    assert (verified["kind"], verified["state"]) == ("verify", "SUCCEEDED")


def test_the_shell_changes_no_result_and_no_process_connects_to_its_addresses(whole: Whole) -> None:
    pipeline = whole.pipeline
    rows = Lake(pipeline.settings).prices(columns=["tick_ts", "price"]).arrow()
    # Of the newest ticks, one partition may be committed before the other.
    until = pc.max(rows["tick_ts"]).as_py() - timedelta(seconds=20)
    code = (
        "import os; before = dict(os.environ); from cryptoviz.lake import prices\n"
        f"rows = prices(columns=['price'], end='{until.isoformat()}').pandas(); print(len(rows), rows.price.min())\n"
        "assert dict(os.environ) == before"
    )
    read = run(pipeline.env, sys.executable, "-c", code)
    assert read.returncode == 0, read.stderr
    before = rows.filter(pc.less(rows["tick_ts"], until))
    assert before.num_rows >= 17
    assert read.stdout.split() == [str(before.num_rows), str(pc.min(before["price"]))]
    assert json.loads(whole.said["verify --json"])["ok"]
    assert whole.trap.connections == []


def mutual_tls(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The control service's settings with certificates for it and its clients, and a part of each private key, as canaries."""
    clients, servers = authority(folder, "clients"), authority(folder, "servers")
    (cert, key), (own, own_key) = certificate(folder, "server", servers), certificate(folder, "owner", clients)
    chain = folder / "chain.pem"
    chain.write_bytes(cert.read_bytes() + servers.read_bytes())
    files = {"CERT": chain, "KEY": key, "CLIENT_CA": clients, "CLIENT_CERT": own, "CLIENT_KEY": own_key}
    # The private number is in the second line of Base64, before the public key; the first line begins alike in all keys.
    return {f"CRYPTOVIZ_CONTROL__TLS_{name}": str(path) for name, path in files.items()}, {
        name: path.read_text().splitlines()[2][:24] for name, path in (("server's key", key), ("client's key", own_key))
    }


def added_token(env: Mapping[str, str], name: str, role: Role) -> str:
    done = run(env, CRYPTOVIZ, "tokens", "add", name, "--role", role)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def used(pipeline: Demo, token: str) -> str:
    """What a caller with a token gets for a call that reads and one that changes something, with the codes first."""
    codes, texts = [], []
    with outputs.control_client(pipeline.settings, token) as client:
        for call in (client.list, lambda: client.start("dashboard")):
            try:
                texts.append(repr(call()))
                codes.append("OK")
            except ControlRefused as refused:
                texts.append(f"{refused!r} {vars(refused)}")
                codes.append(refused.code)
    return "\n".join((" ".join(codes), *texts))


def command_lines(*groups: tuple[str, Mapping[str, str], tuple[tuple[str, ...], ...]]) -> dict[str, str]:
    """Outputs of the commands of each group (name, environment, commands), three at a time."""
    wanted = [(name, env, command) for name, env, commands in groups for command in commands]

    def said(one: tuple[str, Mapping[str, str], tuple[str, ...]]) -> tuple[str, str]:
        name, env, command = one
        done = run(env, CRYPTOVIZ, *command)
        assert done.stdout + done.stderr, command
        return f"{name}{' '.join(command)}", done.stdout + done.stderr

    with ThreadPoolExecutor(3) as pool:
        return dict(pool.map(said, wanted))


def run(env: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)


def answered(question: Callable[[], bool]) -> bool:
    """False while the control service does not answer in time."""
    try:
        return question()
    except TransientError:
        return False


def secrets_now(pipeline: Demo) -> dict[str, str]:
    """The canaries and the generated secrets, by name."""
    generated = {f"own {index}": secret for index, secret in enumerate(secrets_of(pipeline.settings)) if secret not in CANARIES.values()}
    wrong = {f"wrong {name}": secret for name, secret in WRONG.items()}
    return CANARIES | wrong | generated | {"spark": outputs.spark_secret(pipeline.settings), "shell": SHELL_VALUE}


def kill_engines(pipeline: Demo) -> None:
    """The engine processes, identified by their working directory."""
    killed = set()
    for process in processes_of(pipeline.settings.home):
        with contextlib.suppress(psutil.Error):
            folder = Path(process.cwd())
            if folder.is_relative_to(pipeline.settings.home) and folder != pipeline.settings.home:
                process.kill()
                killed.add(folder.relative_to(pipeline.settings.home).parts[0])
    assert {"kafka", "minio", "redis"} <= killed
