#!/usr/bin/env python3
"""Fails where a crate depends on one that it may not know: dependencies point from the edges to the domain, never back."""
import json
import subprocess
import sys

# What each crate may depend on, tests included. A crate may always use what its own dependencies may.
MAY = {
    "domain": set(),
    "eventstore": {"domain"},
    "mail": {"domain"},
    "commands": {"eventstore"},
    "projections": {"eventstore"},
    "media": {"domain"},
    # The object store of the development stack: nothing of ours is in it.
    "media-store": set(),
    # The second carrier drives the same consumers as the embedded one, which projections holds.
    "kafka": {"projections"},
    "workers": {"commands", "projections", "mail", "media", "media-store"},
    "api": {"commands", "projections", "mail", "media", "media-store"},
    "postledger": {"workers", "api", "kafka"},
    "e2e": {"postledger"},
    "postledger-bench": {"e2e", "commands", "projections", "kafka", "api", "media"},
}
IO = {"axum", "hyper", "reqwest", "sqlx", "tokio"}
# Crates from elsewhere that only some may use, their tests apart: `domain` and `mail` do no I/O, only `api` knows HTTP.
BANNED = {"domain": IO | {"lettre"}, "mail": IO, "eventstore": {"axum"}, "commands": {"axum"}, "projections": {"axum"}, "kafka": {"axum"}, "workers": {"axum"}}
# Crates from elsewhere that these of ours alone may use, in tests too. The bench takes the raw limit by it.
ALONE = {"rdkafka": {"kafka", "postledger-bench"}, "aws-sdk-s3": {"media"}, "aws-sdk-cloudfront": {"media"}, "s3s": {"media-store"}}


def reach(crate):
    return MAY[crate].union(*(reach(below) for below in MAY[crate]))


def main():
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.check_output(command))["packages"]
    members = {package["name"] for package in packages}
    wrong = [f"{name} is not listed in {sys.argv[0]}" for name in members - MAY.keys()]
    for package in packages:
        name = package["name"]
        for dependency in package["dependencies"]:
            used, shipped = dependency["name"], dependency["kind"] != "dev"
            if used in members and used not in reach(name) or shipped and used in BANNED.get(name, ()) or name not in ALONE.get(used, {name}):
                wrong.append(f"{name} may not depend on {used}")
    print("\n".join(sorted(wrong)) or f"{len(members)} crates depend in the right direction")
    return bool(wrong)


sys.exit(main())
