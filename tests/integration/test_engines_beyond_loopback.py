"""The three embedded engines on an address that other machines reach: every client works by TLS; others are refused."""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Iterator

import duckdb
import psutil
import pyarrow as pa
import pytest
import redis
import urllib3
from confluent_kafka import KafkaException, TopicPartition
from deltalake import CommitProperties, write_deltalake
from minio import Minio
from minio.error import InvalidResponseError, S3Error

from cryptoviz.addresses import is_loopback
from cryptoviz.engines.build import ENGINE_NAMES
from cryptoviz.kafka import admin_client, consumer, producer
from cryptoviz.lake import sql
from cryptoviz.lake.conditional_object import S3ConditionalObject
from cryptoviz.lake.delta import DeltaTable
from cryptoviz.lake.objects import S3Access, minio_client, read_object, table_address
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.engines import engines
from tests.support.intruder import answer_of, exchange, kafka_metadata
from tests.support.ports import free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


def own_address() -> str:
    """An address of this machine beyond loopback."""
    families = [each for addresses in psutil.net_if_addrs().values() for each in addresses]
    return next(each.address for each in families if each.family == socket.AF_INET and not is_loopback(each.address))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    kafka, controller, broker, s3, console, valkey = free_ports(6)
    # Longer than the 107 bytes of a socket's address.
    home = tmp_path_factory.mktemp("beyond") / ("h" * 100)
    made = claim_home(
        load_settings(
            home=home,
            engines={"bind": own_address()},
            kafka={"port": kafka, "controller_port": controller, "broker_port": broker},
            s3={"port": s3, "console_port": console},
            redis={"port": valkey},
        )
    )
    with engines(made, *ENGINE_NAMES):
        yield made


def ports_of(settings: Settings) -> dict[str, int]:
    return {"kafka": settings.kafka.port, "object-store": settings.s3.port, "redis": settings.redis.port}


def test_beyond_loopback_are_only_the_three_ports_of_clients(settings: Settings) -> None:
    def listeners() -> set[tuple[str, int]]:
        family = {psutil.Process().pid, *(child.pid for child in psutil.Process().children(recursive=True))}
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.pid in family]
        return {(one.laddr.ip.removeprefix("::ffff:"), one.laddr.port) for one in listening if one.laddr}

    loopback = {("127.0.0.1", port) for port in (settings.kafka.controller_port, settings.kafka.broker_port, settings.s3.console_port)}
    eventually(lambda: loopback <= listeners())
    beyond = {place for place in listeners() if not is_loopback(place[0])}
    assert beyond == {(own_address(), port) for port in ports_of(settings).values()}


def test_kafka_publishes_and_reads_a_transaction(settings: Settings) -> None:
    writer = producer(settings.kafka, {"transactional.id": "test", "acks": "all"})
    writer.init_transactions(60)
    writer.begin_transaction()
    writer.produce(settings.kafka.stream_topic, b"one", partition=0)
    writer.commit_transaction(60)
    reader = consumer(settings.kafka)
    reader.assign([TopicPartition(settings.kafka.stream_topic, 0, 0)])
    try:
        found: list[bytes | None] = []

        def read() -> bool:
            found.extend(each.value() for each in reader.consume(1, 0.5))
            return bool(found)

        eventually(read)
        assert found == [b"one"]
    finally:
        reader.close()


def test_kafka_refuses_a_wrong_password_and_a_client_without_tls(settings: Settings) -> None:
    for change in ({"sasl.password": "wrong"}, {"security.protocol": "SASL_PLAINTEXT"}, {"security.protocol": "SSL"}):
        with pytest.raises(KafkaException):
            admin_client(settings.kafka, change).list_topics(timeout=3)
    assert answer_of((own_address(), settings.kafka.port), kafka_metadata())[:1] in (b"", b"\x15")  # closed, or TLS's alert


def test_every_library_opens_the_store(settings: Settings) -> None:
    """minio, the conditional put, delta-rs, pyarrow on its files, and DuckDB on the dataset."""
    access, address = S3Access.of(settings.s3), table_address(settings.s3, "prices")
    minio_client(access).put_object(settings.s3.lake_bucket, "a", io.BytesIO(b"kept"), 4)
    assert read_object(minio_client(access), settings.s3.lake_bucket, "a") == b"kept"
    put = S3ConditionalObject(access, settings.s3.lake_bucket, "b")
    put.write(b"1", None)
    found = put.read()
    assert found is not None
    assert found.content == b"1"
    rows = pa.table({"x": [1, 2]})
    table = DeltaTable.create(address.uri, rows.schema, storage_options=settings.s3.storage_options())
    write_deltalake(table, rows, mode="append", commit_properties=CommitProperties(custom_metadata={"a": "b"}))
    opened = DeltaTable(address.uri, storage_options=settings.s3.storage_options())
    assert opened.history(1)[0]["a"] == "b"
    dataset = opened.to_pyarrow_dataset()

    def define(connection: duckdb.DuckDBPyConnection) -> None:
        connection.register("d", dataset)

    assert sql.run("SELECT sum(x) AS s FROM d", {"d": define}).fetch().to_pydict() == {"s": [3]}
    (file,) = opened.file_uris()
    assert access.filesystem().open_input_file(file.removeprefix("s3://")).size() > 0


def test_the_store_refuses_a_wrong_key_and_a_client_without_tls(settings: Settings) -> None:
    access = S3Access.of(settings.s3)
    wrong = S3Access(access.endpoint, access.region, access.access_key, "wrong-secret", access.ca_pem)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        minio_client(wrong).list_buckets()
    plain = Minio(access.endpoint.removeprefix("https://"), access.access_key, access.secret_key, secure=False)
    with pytest.raises(InvalidResponseError, match="HTTP request to an HTTPS server"):
        plain.list_buckets()


def test_valkey_answers_by_tls_and_asks_for_its_password(settings: Settings) -> None:
    with redis.Redis.from_url(**settings.redis.connection(60)) as client:
        assert client.set("a", b"x" * 3_000_000) is True
        assert client.get("a") == b"x" * 3_000_000
    connection = settings.redis.connection(60)
    bare = f"rediss://{own_address()}:{settings.redis.port}/0"
    with redis.Redis.from_url(bare, ssl_ca_data=connection["ssl_ca_data"]) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.get("a")
    wrong = connection["url"].replace(settings.redis.password.get_secret_value(), "wrong")
    with redis.Redis.from_url(wrong, ssl_ca_data=connection["ssl_ca_data"]) as intruder, pytest.raises(redis.AuthenticationError):
        intruder.get("a")
    answer, closed = exchange((own_address(), settings.redis.port), b"PING\r\n")
    assert (b"PONG" in answer or b"NOAUTH" in answer, closed) == (False, True)


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_a_client_without_the_authority_refuses_the_engine(name: str, settings: Settings) -> None:
    with socket.create_connection((own_address(), ports_of(settings)[name]), timeout=60) as raw, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(raw, server_hostname=own_address())
    trusted = ssl.create_default_context(cadata=settings.s3.ca_pem)
    raw = socket.create_connection((own_address(), ports_of(settings)[name]), timeout=60)
    with raw, trusted.wrap_socket(raw, server_hostname=own_address()) as connection:
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}


def test_the_console_on_loopback_has_the_same_certificate(settings: Settings) -> None:
    pool = urllib3.PoolManager(ssl_context=ssl.create_default_context(cadata=settings.s3.ca_pem))
    assert pool.request("GET", f"https://127.0.0.1:{settings.s3.console_port}/", retries=False).status == 200


def test_a_restarted_engine_is_trusted_by_the_settings_of_before(settings: Settings) -> None:
    """It has a new certificate of the same authority."""
    own = claim_home(load_settings(home=settings.home.with_name("second"), engines={"bind": own_address()}, redis={"port": free_ports(1)[0]}))
    for _ in range(2):
        with engines(own, "redis") as (engine,):
            assert engine.probe().healthy
            with redis.Redis.from_url(**own.redis.connection(60)) as client:
                assert client.ping() is True
        assert not engine.probe().running
