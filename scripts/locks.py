#!/usr/bin/env python3
"""Fails where a strong lock is taken that docs/locks.md does not list: there stands why it keeps nobody waiting behind who reads."""
import pathlib
import re
import sys

DOCUMENT = pathlib.Path("docs/locks.md")
NAME = r'(?:IF (?:NOT )?EXISTS )?(?:ONLY )?"?(?P<table>\w+)"?'
# What waits for who reads or writes a table, and lets others wait behind it.
STRONG = [
    rf"\bALTER TABLE {NAME}",
    rf"\bDROP TABLE {NAME}",
    rf"\bLOCK TABLE {NAME}",
    rf"\bTRUNCATE (?:TABLE )?{NAME}",
    r"\b(?P<table>TRUNCATE) \{",
    rf"\bREINDEX (?:TABLE|INDEX) {NAME}",
    rf"\bREFRESH MATERIALIZED VIEW {NAME}",
    rf"\bDROP INDEX (?!CONCURRENTLY){NAME}",
    rf"\b(?:VACUUM FULL|CLUSTER) {NAME}",
    rf"\bCREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)(?:IF NOT EXISTS )?\w+ ON {NAME}",
    rf"\bCREATE (?:CONSTRAINT )?TRIGGER \w+ [\w\s]*?\bON {NAME}",
    rf"\b(?:ATTACH|DETACH) PARTITION {NAME}",
    r"\bPARTITION OF (?P<table>\w+)",
    r"\b(?P<table>pg_(?:try_)?advisory_(?:xact_)?lock(?:_shared)?)\b",
]
MADE = re.compile(rf"\bCREATE TABLE {NAME}")


def strong(text):
    made = {match["table"] for match in MADE.finditer(text)}
    found = {match["table"] for pattern in STRONG for match in re.finditer(pattern, text)}
    # A trigger's events are no statements, and whoever makes a table is alone with it.
    return found - made - {"OR", "ON"}


def sources():
    for file in sorted(pathlib.Path("migrations").glob("*.sql")):
        yield file, re.sub(r"--[^\n]*", "", file.read_text())
    for file in sorted(pathlib.Path().glob("*/src/**/*.rs")):
        if file.parts[0] not in {"bench", "e2e"}:
            yield file, re.sub(r"^\s*//[^\n]*", "", file.read_text(), flags=re.MULTILINE)


def main():
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    listed = {(file, lock) for row in rows for file in re.findall(r"`([\w./-]+)`", row) for lock in re.findall(r"`(\w+)`", row)}
    found = {(file.stem if file.suffix == ".sql" else str(file), lock) for file, text in sources() for lock in strong(text)}
    wrong = [f"{file} locks {lock}: say in {DOCUMENT} why nobody waits behind it" for file, lock in found - listed]
    gone = {file for file, _ in listed if "/" in file or re.match(r"\d{14}_", file)} - {file for file, _ in found}
    wrong += [f"{DOCUMENT} lists {file}, which takes no strong lock" for file in gone]
    print("\n".join(sorted(wrong)) or f"{len(found)} strong locks are listed")
    return bool(wrong)


sys.exit(main())
