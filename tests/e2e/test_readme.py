"""What the pages show of a running gateway is what comes from one."""

import asyncio
import os
import re
import shutil

import pytest
from support import ROOT
from support.docs import PAGES, read_blocks

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on the path"),
]

OWN_URL = "http://127.0.0.1:8080"
SHOWN = {
    str(page.relative_to(ROOT)): examples
    for page in PAGES
    if (
        examples := [
            (command, output)
            for block in read_blocks(page)
            for command, output in block.examples
            if command.startswith("curl ") and OWN_URL in command
        ]
    )
}


def shape_of(output):
    """Return the status line and the headers' names, where they are shown, and JSON's names."""
    head, _, body = output.rpartition("\n\n")
    status, *headers = head.splitlines() or [""]
    return status, [line.partition(":")[0] for line in headers], re.findall(r'"(\w+)":', body)


async def run_in_shell(command):
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        command,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace").replace("\r", "")


def test_there_are_examples():
    """The README shows an answered and a refused call."""
    statuses = [shape_of(output)[0] for _, output in SHOWN["README.md"]]
    assert "HTTP/1.1 200 OK" in statuses
    assert "HTTP/1.1 429 Too Many Requests" in statuses


@pytest.mark.parametrize("page", SHOWN)
async def test_examples_are_what_comes(machines, page):
    """Each call of a page, sent to a gateway as `make run` starts it, is answered as shown."""
    gateway = machines.serve(keepa_base_url="simulator", keepa_api_key="", rate_limit_per_minute=20)
    await gateway.started()
    for command, shown in SHOWN[page]:
        came = await run_in_shell(command.replace(OWN_URL, gateway.url))
        assert shape_of(came) == shape_of(shown.strip("\n")), command
