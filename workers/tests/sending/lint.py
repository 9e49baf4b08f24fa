#!/usr/bin/env python3
"""Reads a mail on standard input as strictly as Python's email package and dkimpy do, and tells what is in it, as JSON.

The argument is the TXT record of the sender's key. A mail that is not well-formed is an error.
"""

import email
import email.policy
import json
import sys

import dkim
import dkim.util


def text_part(part):
    return {
        "type": part.get_content_type(),
        "charset": part.get_content_charset(),
        "encoding": part["Content-Transfer-Encoding"].cte,
        "content": part.get_content(),
    }


def main():
    raw, record = sys.stdin.buffer.read(), sys.argv[1].encode()
    policy = email.policy.SMTP.clone(raise_on_defect=True)
    mail = email.message_from_bytes(raw, policy=policy)
    for name, value in mail.items():
        if value.defects:
            raise ValueError(f"{name}: {value.defects}")
    signature = dkim.util.parse_tag_value("".join(mail["DKIM-Signature"].split()).encode())
    print(json.dumps({
        "headers": [[name.lower(), str(value)] for name, value in mail.items()],
        "from": [address.addr_spec for address in mail["From"].addresses],
        "to": [address.addr_spec for address in mail["To"].addresses],
        "date": mail["Date"].datetime.timestamp(),
        "type": mail.get_content_type(),
        "parts": [text_part(part) for part in mail.iter_parts()],
        "signed": signature[b"h"].decode().lower().split(":"),
        "verified": dkim.verify(raw, dnsfunc=lambda name, timeout=5: record),
    }))


main()
