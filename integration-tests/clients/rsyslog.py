"""rsyslog, unpacked and not installed, which follows a file and sends its lines by syslog."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from clients.install import installed
from testbed.reaper import forget, watch_process

TLS: Final = (
    'StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost"'
)
_CONFIGURATION: Final = """\
module(load="imfile")
global(workDirectory="{folder}" {authority})
input(type="imfile" file="{folder}/lines" tag="{tag}:" facility="local0" severity="warning")
action(
  type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="{framing}" template="{template}" {tls}
  queue.type="LinkedList" queue.size="100000" action.resumeRetryCount="-1" action.resumeInterval="1"
)
"""


@asynccontextmanager
async def rsyslog(folder: Path, port: int, **options: str) -> AsyncIterator[None]:
    """
    Run rsyslog; it must live until the end of the block.

    Args:
        folder: Has the file `lines`, and gets rsyslog's own.
        port: Where to send to.
        options: What the configuration has else than usually: `tag`, `framing`, `template`, `authority`, `tls`.
    """
    kit = await asyncio.to_thread(installed, "rsyslog")
    usual = {
        "tag": "shop",
        "framing": "octet-counted",
        "template": "RSYSLOG_SyslogProtocol23Format",
        "authority": "",
        "tls": "",
    }
    (folder / "conf").write_text(_CONFIGURATION.format(folder=folder, port=port, **(usual | options)))
    libraries = [*kit.glob("usr/lib/*-linux-gnu*"), *kit.glob("lib/*-linux-gnu*")]
    [modules] = kit.glob("usr/lib/*/rsyslog")
    process = await asyncio.create_subprocess_exec(
        *(str(kit / "usr/sbin/rsyslogd"), "-n", "-f", str(folder / "conf"), "-i", str(folder / "pid")),
        env={"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "RSYSLOG_MODDIR": str(modules), "PATH": "/usr/bin:/bin"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    watch_process(process.pid)
    try:
        yield
        assert process.returncode is None, await process.stderr.read() if process.stderr else ""
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        forget(process.pid)
