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
    options = parser.parse_args()
    metadata = (("authorization", f"Bearer {options.token_file.read_text().strip()}"),)

    # gRPC takes `http_proxy` of the shell for every address, also for one on this machine.
    with grpc.insecure_channel(options.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
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
