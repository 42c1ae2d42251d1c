"""A server that answers every request with the same bytes: it shows what the load generator can drive.

``python -m load_tests.peers.constant PORT``. It takes one read for one request, which holds for the small
requests of that run.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

_BODY = b'{"predictions":[{"label":"good","probabilities":{"bad":0.13,"good":0.87}}]}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class _Constant(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(_ANSWER)  # type: ignore[attr-defined]  # a TCP transport can write


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Constant, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
