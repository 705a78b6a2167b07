"""syslog-ng with `elasticsearch-http()`: it follows a file of JSON lines, and sends them in requests of a hundred."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from datetime import UTC, datetime
from pathlib import Path

from sending import asked, end, say

CONFIGURATION = """\
@version: {version}
@define scl-root "{kit}/usr/share/syslog-ng/include/scl"
@include "{kit}/usr/share/syslog-ng/include/scl/elasticsearch/elastic-http.conf"
options {{ stats-freq(0); time-reopen(1); }};
source lines {{ file("{folder}/lines" follow-freq(0.1) flags(no-parse)); }};
destination bulk {{
  elasticsearch-http(
    url("{url}/_bulk") index("logs-shop-default") type("") workers(1) batch-lines(100) batch-timeout(500) timeout(120)
    template("$MSG\\n") persist-name("bulk")
  );
}};
log {{ source(lines); destination(bulk); flags(flow-control); }};
"""


def main() -> None:
    url, records = asked()
    kit = Path(os.environ["PYTHONPATH"])
    modules = next(kit.glob("usr/lib/syslog-ng/*/"))
    libraries = [*kit.glob("usr/lib/*-linux-gnu*"), *kit.glob("lib/*-linux-gnu*"), modules.parent, modules]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    folder = Path(tempfile.mkdtemp(prefix="syslog-ng-"))
    configuration = CONFIGURATION.format(version=modules.name, kit=kit, folder=folder, url=url)
    (folder / "configuration").write_text(configuration)
    with (folder / "lines").open("w") as lines:
        for record in records:
            now = datetime.now(UTC)
            document = {
                "@timestamp": now.isoformat(),
                "message": record.message,
                "log": {"level": record.level.lower()},
                "service": {"name": record.service},
                "trace": {"id": record.trace},
                **record.attributes,
            }
            lines.write(json.dumps(document, ensure_ascii=False) + "\n")
            say(record, time_ns=str((int(now.timestamp()) * 1_000_000 + now.microsecond) * 1_000))
    control = str(folder / "control")
    command = [str(kit / "usr/sbin/syslog-ng"), "--foreground", "--no-caps", "--stderr", "--cfgfile", "configuration"]
    places = [
        "--module-path",
        str(modules),
        "--persist-file",
        "persist",
        "--pidfile",
        str(folder / "pid"),
        "--control",
        control,
    ]
    server = subprocess.Popen([*command, *places], cwd=folder, env=environment, stdout=sys.stderr)
    counts: dict[str, int] = {}
    try:
        while server.poll() is None and counts.get("written", 0) + counts.get("dropped", 0) < len(records):
            time.sleep(0.1)
            counts = statistics([str(kit / "usr/sbin/syslog-ng-ctl"), "stats", "--control", control], environment)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)
    end(len(records) - counts.get("written", 0))


def statistics(command: list[str], environment: dict[str, str]) -> dict[str, int]:
    """Return what it has counted for its destination, and nothing while it does not answer."""
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    fields = [line.split(";") for line in answer.stdout.splitlines()]
    return {line[4]: int(line[5]) for line in fields if len(line) == 6 and line[0] == "dst.http"}


main()
