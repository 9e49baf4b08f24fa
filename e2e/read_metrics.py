#!/usr/bin/env python3
"""Reads Prometheus's text format as Prometheus's own client library does, and prints it as JSON: a list of metrics, each with
its name, type, help, and samples (name, labels, value)."""
import json
import sys

from prometheus_client.parser import text_string_to_metric_families

families = text_string_to_metric_families(sys.stdin.read())
json.dump(
    [
        {
            "name": family.name,
            "type": family.type,
            "help": family.documentation,
            "samples": [{"name": s.name, "labels": s.labels, "value": s.value} for s in family.samples],
        }
        for family in families
    ],
    sys.stdout,
    allow_nan=False,
)
