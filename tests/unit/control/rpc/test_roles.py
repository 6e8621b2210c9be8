"""Named tokens and their roles on a running server: added, rotated and revoked without a restart."""

from __future__ import annotations

import io
import threading
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool

from control.rpc.methods import ROLES, SERVICES, answers_once, budget_of, role_of
from cryptoviz.client import ControlClient
from cryptoviz.components import ComponentState
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.errors import ControlRefused
from cryptoviz.local.private import write_private
from cryptoviz.security.tokens import Role, TokenFile, new_token
from cryptoviz.telemetry.log_files import log_path
from tests.support.control_server import Serving
from tests.support.waiting import eventually


def client_of(served: Serving, token: str) -> ControlClient:
    return ControlClient(served.address, token=token, timeout_s=60)


def code_of(call: Any) -> str:
    try:
        call()
    except ControlRefused as error:
        return error.code
    return "OK"


def test_every_method_of_the_contract_declares_its_role() -> None:
    """A new method fails here until the table has its role."""
    pool = descriptor_pool.Default()
    contract = {f"/{service}/{method.name}" for service in SERVICES for method in pool.FindServiceByName(service).methods}
    assert set(ROLES) == contract


def test_every_method_that_changes_something_needs_operate() -> None:
    operate = {method.rpartition("/")[2] for method, role in ROLES.items() if role is Role.OPERATE}
    assert operate == {
        "StartComponent", "StopComponent", "RestartComponent", "StartPipeline", "StopPipeline", "Shutdown", "TripBreaker", "ResetBreaker",
        "StartOperation", "CancelOperation",
    }  # fmt: skip
    assert role_of("/cryptoviz.control.v1.ControlService/Nothing") is Role.OPERATE


def test_the_table_of_streams_is_that_of_the_contract() -> None:
    pool = descriptor_pool.Default()
    methods = [(service, method) for service in SERVICES for method in pool.FindServiceByName(service).methods]
    once = {f"/{service}/{method.name}" for service, method in methods if not method.server_streaming}
    assert {method for method in ROLES if answers_once(method)} == once


def test_a_read_token_reads_and_the_denial_names_the_role_that_is_needed(served: Serving) -> None:
    with client_of(served, TokenFile(served.settings.home).add("grafana", Role.READ, 1)) as viewer:
        assert len(viewer.list().components) == 4
        assert next(viewer.watch()).version
        assert list(viewer.tail_logs("page")) == []
        with pytest.raises(ControlRefused) as denied:
            viewer.start("page")
        text = "PERMISSION_DENIED: the method needs a token of the role `operate`; the token 'grafana' has the role `read`"
        assert (denied.value.code, denied.value.message) == ("PERMISSION_DENIED", text)
        assert code_of(viewer.shutdown) == "PERMISSION_DENIED"
        assert viewer.get("page").state is ComponentState.STOPPED
    assert served.shutdowns == []


def test_an_operate_token_operates(served: Serving) -> None:
    with client_of(served, TokenFile(served.settings.home).add("deploy", Role.OPERATE, 1)) as operator:
        operator.start("page")
        eventually(lambda: operator.get("page").state is ComponentState.RUNNING)


def test_a_new_token_works_at_once_and_a_revoked_one_at_once_no_longer(served: Serving) -> None:
    tokens = TokenFile(served.settings.home)
    unknown = new_token()
    with client_of(served, unknown) as stranger:
        assert code_of(stranger.list) == "UNAUTHENTICATED"
    token = tokens.add("a", Role.READ, 1)
    with client_of(served, token) as client, served.client() as owner:
        assert code_of(client.list) == "OK"
        replaced = tokens.rotate("a", 2)
        assert code_of(client.list) == "UNAUTHENTICATED"
        with client_of(served, replaced) as renewed:
            assert code_of(renewed.list) == "OK"
            tokens.revoke("a")
            assert code_of(renewed.list) == "UNAUTHENTICATED"
        assert code_of(owner.list) == "OK"


def test_running_watches_of_a_revoked_token_end_and_no_others(served: Serving) -> None:
    tokens = TokenFile(served.settings.home)
    revoked, kept = (client_of(served, tokens.add(name, Role.READ, 1)) for name in ("revoked", "kept"))
    ends: list[str] = []

    def follow() -> None:
        ends.append(code_of(lambda: list(revoked.watch())))

    with revoked, kept, served.client() as owner:
        other = kept.watch()
        next(other)
        watcher = threading.Thread(target=follow)
        watcher.start()
        eventually(lambda: served.server is not None and len(served.server.token_check.running) == 2)
        tokens.revoke("revoked")
        watcher.join(120)
        assert ends == ["UNAUTHENTICATED"]
        assert served.server is not None
        eventually(lambda: served.server is not None and len(served.server.token_check.running) == 1)
        owner.start("page")
        assert next(other).version


def test_a_revoked_reader_that_does_not_read_gives_its_slot_back_at_once(served: Serving) -> None:
    path = log_path(served.settings, "page")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{number} {'x' * 4000}\n" for number in range(4000)))  # 16 MB, more than all buffers
    tokens = TokenFile(served.settings.home)
    metadata, budget = (("authorization", f"Bearer {tokens.add('a', Role.READ, 1)}"),), budget_of("/cryptoviz.control.v1.ControlService/TailLogs")
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))  # a window that does not grow
    with grpc.insecure_channel(served.address, options=options) as channel:
        reader = ControlServiceStub(channel).TailLogs(pb.TailLogsRequest(name="page", lines=4000), metadata=metadata, timeout=60)
        next(reader)
        assert served.server is not None
        assert served.server.call_counts.count(budget) == 1
        tokens.revoke("a")
        eventually(lambda: served.server is not None and served.server.call_counts.count(budget) == 0)
        # Of what it had not read, it gets the buffers only, then the reason.
        with pytest.raises(grpc.RpcError, match="the token was revoked or replaced during the call") as revoked:
            list(reader)
        assert revoked.value.code() is grpc.StatusCode.UNAUTHENTICATED
        eventually(lambda: served.server is not None and not served.server.token_check.running)


def test_the_owners_token_is_replaced_without_a_restart(served: Serving) -> None:
    with client_of(served, served.token) as before, served.client() as owner:
        assert code_of(before.list) == "OK"
        write_private(served.settings.token_file, f"{new_token()}\n")
        assert code_of(before.list) == "UNAUTHENTICATED"
        assert code_of(owner.list) == "OK"  # reads the file for each call


def test_a_damaged_file_permits_no_named_token_and_an_unreadable_owners_token_keeps_the_owner(served: Serving, lines: io.StringIO) -> None:
    tokens = TokenFile(served.settings.home)
    with client_of(served, tokens.add("a", Role.OPERATE, 1)) as client, client_of(served, served.token) as owner:
        assert code_of(client.list) == "OK"
        tokens.path.write_text("{")
        assert code_of(client.list) == "UNAUTHENTICATED"
        assert "event=tokens_unreadable" in lines.getvalue()
        served.settings.token_file.write_text("not a token\n")
        assert code_of(owner.list) == "OK"
        assert "event=token_unreadable" in lines.getvalue()
        assert lines.getvalue().count("tokens_unreadable") == 2  # once per change, not once per call


@pytest.mark.parametrize("given", ["", "0" * 64, "ä" * 64, "x" * 6_000, "TOKEN0", "TOKE"])
def test_what_is_not_exactly_a_token_is_refused(served: Serving, given: str) -> None:
    token = TokenFile(served.settings.home).add("a", Role.OPERATE, 1)
    value = given.replace("TOKEN", token).replace("TOKE", token[:-1])
    with grpc.insecure_channel(served.address) as channel:
        if not value.isascii():
            value = value.encode().hex()
        with pytest.raises(grpc.RpcError) as refused:
            ControlServiceStub(channel).ListComponents(pb.ListComponentsRequest(), metadata=(("authorization", f"Bearer {value}"),), timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == (
        "metadata `authorization: Bearer <token>` is required; the token is in <home>/control.token, or from `cryptoviz tokens add`"
    )


def test_the_hash_is_not_a_token(served: Serving) -> None:
    tokens = TokenFile(served.settings.home)
    tokens.add("a", Role.OPERATE, 1)
    with client_of(served, tokens.read()[0].sha256) as thief:
        assert code_of(thief.list) == "UNAUTHENTICATED"


def test_the_log_names_the_token_of_a_call_and_never_shows_it(served: Serving, lines: io.StringIO) -> None:
    token = TokenFile(served.settings.home).add("grafana", Role.READ, 1)
    with client_of(served, token) as viewer:
        list(viewer.tail_logs("page"))
        assert code_of(lambda: viewer.start("page")) == "PERMISSION_DENIED"
    eventually(lambda: "TailLogs" in lines.getvalue() and "PERMISSION_DENIED" in lines.getvalue())
    assert all("caller=grafana" in line for line in lines.getvalue().splitlines() if "event=call" in line)
    assert token not in lines.getvalue()
