#!/usr/bin/env python3
"""Fails where docs/security.md names a test that does not exist, or a promise without a test."""
import pathlib
import re
import sys

DOCUMENT = pathlib.Path("docs/security.md")
NAMED = re.compile(r"`([\w./-]+\.rs)::(\w+)`")
# A test's attribute, then others or none, then its function.
TEST = r"#\[(?:\w+::)?test\b[^\n]*\n(?:\s*#\[[^\n]*\n)*\s*(?:async )?fn {}\b"


def wrong_names(text):
    for path, name in sorted(set(NAMED.findall(text))):
        file = pathlib.Path(path)
        if not file.is_file():
            yield f"there is no file {path}"
        elif not re.search(TEST.format(name), file.read_text()):
            yield f"{path} has no test {name}"


def untested(text):
    for line in text.splitlines():
        is_row = line.startswith("| ") and not line.startswith("| Promise |")
        if is_row and not NAMED.search(line):
            yield f"no test is named: {line}"


def main():
    text = DOCUMENT.read_text()
    wrong = [*wrong_names(text), *untested(text)]
    print("\n".join(wrong) or f"{len(set(NAMED.findall(text)))} tests of docs/security.md exist")
    return bool(wrong)


sys.exit(main())
