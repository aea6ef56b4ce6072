"""A line that gives each connection its share and no more: `_relay.py PORT TO_PORT BYTES_PER_SECOND`, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import sys
import time

CHUNK = 1 << 16


async def main(port: int, to: int, rate: float) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = time.monotonic()
        try:
            while chunk := await reader.read(CHUNK):
                writer.write(chunk)
                await writer.drain()
                # What was late is not made up for: a share is a share.
                due = max(due, time.monotonic() - CHUNK / rate) + len(chunk) / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
