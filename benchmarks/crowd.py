"""Does the studio bear a crowd: many clients at once, slow ones, some that leave, and a queue that is full? Is anybody
lost without a word, how much memory does it take, and is the memory flat over many requests?

python -m benchmarks.crowd [--clients 60] [--requests 1000] [--model DIR] [--steps 1] [--seconds 900]; prints JSON.
It starts a studio of its own on 127.0.0.1, with an empty workspace, and ends it.

A crowd, all at once: every fourth leaves when its image is begun or its turn is near, every fourth sends and reads
slowly, the others wait. Who is told that the queue is full asks again until its image is there. Then one request after
the other: the slope of the memory after the first third, by blocks, with its interval of 95 %.
"""

import argparse
import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
LEAVES, SLOW, WAITS = "leaves", "slow", "waits"
KINDS = (LEAVES, WAITS, SLOW, WAITS)
SLOW_PARTS, SLOW_SECONDS = 8, 0.25  # in which a slow client sends its request, and looks for the next piece
AGAIN_SECONDS = 0.5  # after which somebody asks again who was told that the queue is full
BLOCKS = 20
DAY = 86_400
MB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "models" / "papercut")
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--size", type=int, default=128, help="pixels, the side of an image")
    parser.add_argument("--seconds", type=float, default=900, help="that each part takes at most")
    arguments = parser.parse_args()
    with studio(arguments.model) as (process, address):
        crowd = Crowd(process, address, arguments.steps, arguments.size)
        found = {"crowd": asyncio.run(crowd.all_at_once(arguments.clients, arguments.seconds))}
        if arguments.requests:
            found["one after the other"] = crowd.one_by_one(arguments.requests, arguments.seconds)
    print(json.dumps(found, indent=2))


@contextmanager
def studio(model: Path) -> Iterator[tuple[psutil.Process, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as workspace:
        words = [sys.executable, "-m", "app", "--port", str(port), "--workspace", workspace, "--model", str(model)]
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}  # of a model that is asked for one step
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=quiet)
        try:
            assert process.stdout is not None
            if "http://" not in process.stdout.readline():
                sys.exit("the studio did not start")
            yield psutil.Process(process.pid), f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


@dataclass(slots=True)
class Crowd:
    """Clients of one studio. told: how often somebody was told that the queue is full."""

    process: psutil.Process
    address: str
    steps: int
    size: int
    told: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    number: int = -1

    async def all_at_once(self, clients: int, seconds: float) -> dict[str, Any]:
        limits = httpx.Limits(max_connections=2 * clients)
        async with httpx.AsyncClient(base_url=self.address, timeout=seconds, limits=limits) as client:
            functions = (await client.get("/config")).json()["dependencies"]
            self.number = next(one["id"] for one in functions if one["api_name"] == "generate")
            await self._ask(client, "first", WAITS)  # the model is warm
            self.ended.clear()
            before, peaks = self.memory(), list[float]()
            watcher = asyncio.create_task(self._watch(peaks))
            began = time.perf_counter()
            asked = [self._ask(client, f"client-{number}", KINDS[number % 4]) for number in range(clients)]
            done, late = await asyncio.wait(map(asyncio.ensure_future, asked), timeout=seconds)
            took = time.perf_counter() - began
            watcher.cancel()
            for one in late:
                one.cancel()
            self.ended["lost without a word"] += len(late) + sum(one.exception() is not None for one in done)
            ended = dict(self.ended)
            await self._ask(client, "last", WAITS)  # whoever comes then is served
            after = self.memory()
        return {
            "clients": clients,
            "ended": ended,
            "told that the queue is full": self.told,
            "seconds": round(took, 1),
            "longest wait": round(max(self.waits), 1),
            "MB before, at most, after": [round(one) for one in (before, max(peaks), after)],
        }

    async def _ask(self, client: httpx.AsyncClient, session: str, kind: str) -> None:
        """Until its image is there, or until it leaves. What nobody expects is raised."""
        began = time.perf_counter()
        while True:
            content = _slowly(self._body(session)) if kind is SLOW else self._body(session)
            headers = {"content-type": "application/json"}
            answer = await client.post("/gradio_api/queue/join", content=content, headers=headers)
            if answer.status_code == 200:
                break
            if answer.status_code != 503 or "full" not in answer.text:
                raise RuntimeError(f"{session}: {answer.status_code} {answer.text[:200]}")
            self.told += 1
            await asyncio.sleep(AGAIN_SECONDS)
        address = f"/gradio_api/queue/data?session_hash={session}"
        async with client.stream("GET", address) as stream:
            async for line in stream.aiter_lines():
                if kind is SLOW:
                    await asyncio.sleep(SLOW_SECONDS)
                said = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {"msg": ""}
                if kind is LEAVES and said["msg"] in ("process_starts", "process_generating"):
                    self.ended["left"] += 1
                    return
                if said["msg"] == "process_completed":
                    if not said["success"]:
                        raise RuntimeError(f"{session}: {line[:300]}")
                    self.ended[f"{kind}: an image"] += 1
                    self.waits.append(time.perf_counter() - began)
                    return
        raise RuntimeError(f"{session}: the stream ended before the image came")

    async def _watch(self, peaks: list[float]) -> None:
        while True:
            peaks.append(self.memory())
            await asyncio.sleep(0.2)

    def one_by_one(self, requests: int, seconds: float) -> dict[str, Any]:
        sizes: list[float] = []
        began = time.perf_counter()

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=self.address, timeout=seconds) as client:
                while len(sizes) < requests and time.perf_counter() - began < seconds:
                    await self._ask(client, f"one-{len(sizes)}", WAITS)
                    sizes.append(self.memory())

        asyncio.run(ask())
        rate = len(sizes) / (time.perf_counter() - began)
        return {"requests": len(sizes), "a second": round(rate, 2), **slope(sizes, rate)}

    def memory(self) -> float:
        return float(self.process.memory_info().rss) / MB

    def _body(self, session: str) -> bytes:
        box = {"label": "car", "box": [0.2, 0.3, 0.7, 0.8]}
        layout = {"width": self.size, "height": self.size, "objects": [box]}
        data = [layout, 7, "origin", self.steps, 1.0, 0.0, "", True, None, None]
        return json.dumps({"data": data, "fn_index": self.number, "session_hash": session}).encode()


async def _slowly(body: bytes) -> Any:
    part = math.ceil(len(body) / SLOW_PARTS)
    for start in range(0, len(body), part):
        yield body[start : start + part]
        await asyncio.sleep(SLOW_SECONDS)


def slope(sizes: list[float], rate: float) -> dict[str, Any]:
    """Of the memory in MB after the first third: by block means, whose neighbours depend little on each other."""
    kept = np.array(sizes[len(sizes) // 3 :])
    size = len(kept) // BLOCKS
    if size == 0:
        return {"MB first, last": [round(sizes[0]), round(sizes[-1])]}
    means = kept[: size * BLOCKS].reshape(BLOCKS, size).mean(1)
    line = stats.linregress((np.arange(BLOCKS) + 0.5) * size, means)
    half = float(stats.t.ppf(0.975, BLOCKS - 2)) * line.stderr
    each = np.array([line.slope, line.slope - half, line.slope + half])
    return {
        "MB first, after a third, last": [round(one, 1) for one in (sizes[0], means[0], means[-1])],
        "MB for 1,000 requests": np.round(each * 1000, 2).tolist(),
        "MB for 24 h at this rate": np.round(each * rate * DAY).tolist(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
