"""The control service without the SDK, as any gRPC language does it: generated stubs, a token in the metadata, a deadline.

`python examples/plain_grpc.py --token-file ~/.local/share/cryptoviz/control.token`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import grpc

from cryptoviz.control.v1 import control_pb2, control_pb2_grpc


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--tls-cert", type=Path, help="certificate of the service, if it has TLS (default: plain text)")
    options = parser.parse_args()
    try:
        metadata = (("authorization", f"Bearer {options.token_file.read_text().strip()}"),)
        certificate = options.tls_cert.read_bytes() if options.tls_cert else None
    except OSError as error:
        print(error, file=sys.stderr)
        return 1

    # gRPC takes `http_proxy` of the shell for every address, also for one on this machine.
    settings = [("grpc.enable_http_proxy", 0)]
    if certificate is None:
        channel = grpc.insecure_channel(options.address, options=settings)
    else:
        channel = grpc.secure_channel(options.address, grpc.ssl_channel_credentials(certificate), options=settings)
    with channel:
        stub = control_pb2_grpc.ControlServiceStub(channel)
        try:
            pipeline = stub.ListComponents(control_pb2.ListComponentsRequest(), timeout=5, metadata=metadata).pipeline
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    for component in pipeline.components:
        state = control_pb2.ComponentState.Name(component.state).removeprefix("COMPONENT_STATE_")
        print(f"{component.name:24} {state:9} {component.message}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
