"""What programs call, by real clients of both protocols: answers, and errors with their kind."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
ENDPOINTS = {"generate", "compare", "classes"}


@pytest.fixture(scope="module")
def address(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a studio with the tiny model serves, with its MCP tools."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    workspace = str(tmp_path_factory.mktemp("api"))
    command = [sys.executable, "-m", "app", "--port", port, "--workspace", workspace, "--model", str(model_folder)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.Popen([*command, "--mcp"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert any(f"Studio: http://127.0.0.1:{port}" in line for line in process.stdout), "it ended"
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=60)


def with_label(layout: dict[str, Any], label: str) -> dict[str, Any]:
    return {**layout, "objects": [{**layout["objects"][0], "label": label}]}


def test_a_gradio_client(address: str, street: dict[str, Any]) -> None:
    client = Client(address, verbose=False, httpx_kwargs={"timeout": 120})
    assert {name.strip("/") for name in client.view_api(return_format="dict")["named_endpoints"]} == ENDPOINTS
    assert client.predict(api_name="/classes")["things"] == ["bus", "car"]
    record = client.predict(layout=street, seed=3, steps=2, attribute_guidance=0.5, api_name="/generate")
    assert [one["label"] for one in record["objects"]] == ["bus", "car", "road"]
    assert record["seed"] == 3 and record["png_base64"]
    pair = client.predict(layout=street, seed=3, steps=2, image=False, api_name="/compare")
    assert [one["attribute"] for one in pair["hard"]["objects"]] == ["hard", "hard", "background"]
    assert "png_base64" not in pair["easy"]
    with pytest.raises(AppError, match="LayoutError: object 1: unknown class 'tram'"):
        client.predict(layout=with_label(street, "tram"), api_name="/generate")
    with pytest.raises(AppError, match="ConfigError: attribute guidance 9 needs to be from -4 to 4"):
        client.predict(layout=street, attribute_guidance=9, api_name="/generate")


def test_an_mcp_client(address: str, street: dict[str, Any]) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk() -> tuple[Any, ...]:
        async with (
            streamablehttp_client(f"{address}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            asked = {"layout": street, "seed": 3, "steps": 2, "picture": False}
            answers = [
                await session.call_tool("compare", asked),
                await session.call_tool("generate", {**asked, "layout": with_label(street, "tram")}),
            ]
            return tools, *answers

    tools, pair, refused = asyncio.run(talk())
    assert {tool.name for tool in tools} == ENDPOINTS
    generate = next(tool for tool in tools if tool.name == "generate")
    assert "boxes are fractions" in generate.description
    described = {name: bool(about.get("description")) for name, about in generate.inputSchema["properties"].items()}
    assert all(described.values()) and set(described) >= {"layout", "seed", "strategy", "attribute_guidance", "image"}
    assert not pair.isError and "'hard'" in pair.content[0].text.replace(json.dumps("hard"), "'hard'")
    assert refused.isError and "LayoutError: object 1: unknown class 'tram'" in refused.content[0].text
