"""
Reads events with the client loki-reader-core, and prints what it got as one line of JSON.

`python read_loki.py ADDRESS SERVICE`
"""

import json
import sys

from loki_reader_core import LokiClient


def main() -> None:
    """Ask each question once that the client knows."""
    address, service = sys.argv[1:]
    with LokiClient(address, auth=("reader", "no key is needed"), org_id="default") as client:
        severe = client.query(app=service, severity="warn", since_hours=1)
        counted = client.query(logql=f'sum(count_over_time({{service_name="{service}"}}[1h]))')
        found = {
            "labels": client.get_labels(),
            "services": client.get_label_values("service_name"),
            "series": client.get_series([f'{{service_name="{service}"}}']),
            "lines": [entry.message for stream in severe.streams for entry in stream.entries],
            "count": [sample.value for series in counted.metric_series for sample in series.samples],
        }
    sys.stdout.write(json.dumps(found) + "\n")


main()
