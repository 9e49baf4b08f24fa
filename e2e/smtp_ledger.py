#!/usr/bin/env python3
"""An SMTP server that keeps a ledger of every message it accepted.

It stands for a mail provider in tests. Each accepted message is one JSON line in an append-only file, fsynced before the
answer is sent. `data_at` is when the DATA line arrived: the start of the hand-over. What it is told to do wrong, it does
by the local part of a recipient:

    --fail tempfail=rcpt:451:1     RCPT is answered 451, the first 1 time for each address
    --fail reject=rcpt:550         RCPT is always answered 550
    --fail busy=data:451:2         the body is answered 451, the first 2 times for each address
    --fail dropafterdata=drop      the connection is closed after the body, nothing is accepted
    --fail silent=drop:ledger      the same, but the message was accepted
    --fail slow=slow:5             the answer to an accepted message comes 5 seconds later
    --fail standard                the six above

A rule holds for local parts that begin with its name. Prints `cert PATH` (with a certificate of its own) and `port N` once
it listens; ends on SIGTERM, or when its standard input is closed if --until-stdin-closes is given.
"""

import argparse
import asyncio
import collections
import concurrent.futures
import email.parser
import email.policy
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import warnings

try:
    from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
except ImportError:
    sys.exit("aiosmtpd is missing: './run test' installs it (Debian package python3-aiosmtpd, for /usr/bin/python3)")

STANDARD = ["tempfail=rcpt:451:1", "reject=rcpt:550", "busy=data:451:2", "dropafterdata=drop",
            "silent=drop:ledger", "slow=slow:5"]
MESSAGE_BYTES_MAX = 32 << 20


class Rule:
    """What goes wrong for recipients whose local part begins with a name."""

    def __init__(self, text):
        self.name, _, action = text.partition("=")
        self.step, *arguments = action.split(":")
        self.code, self.times, self.ledger, self.seconds = None, None, False, 0.0
        if not self.name:
            raise argparse.ArgumentTypeError(f"{text}: no local part")
        if self.step in ("rcpt", "data") and 1 <= len(arguments) <= 2:
            self.code = int(arguments[0])
            self.times = int(arguments[1]) if len(arguments) == 2 else None
        elif self.step == "drop" and arguments in ([], ["ledger"]):
            self.ledger = arguments == ["ledger"]
        elif self.step == "slow" and len(arguments) == 1:
            self.seconds = float(arguments[0])
        else:
            raise argparse.ArgumentTypeError(f"{text}: not NAME=rcpt|data:CODE[:TIMES], drop[:ledger] or slow:SECONDS")
        self.used = collections.Counter()

    def applies(self, address):
        if not address.partition("@")[0].startswith(self.name):
            return False
        self.used[address] += 1
        return self.times is None or self.used[address] <= self.times


class Ledger:
    """Appends lines in the order of acceptance. One thread writes and fsyncs, so that the loop is never held up."""

    def __init__(self, path, messages):
        self.file = open(path, "a", encoding="utf-8")
        self.messages = messages
        self.thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self.count = 0

    async def append(self, line, content):
        # An acceptance that has begun is finished, even if the client hangs up meanwhile.
        write = asyncio.get_running_loop().run_in_executor(self.thread, self._write, line, content)
        await asyncio.shield(write)

    def _write(self, line, content):
        self.count += 1
        if self.messages:
            path = os.path.join(self.messages, f"{self.count:08}-{os.getpid()}.eml")
            with open(path, "wb") as file:
                file.write(content)
            line["file"] = path
        line["accepted_at"] = time.time()
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


class Handler:
    def __init__(self, ledger, rules, delay):
        self.ledger, self.rules, self.delay = ledger, rules, delay

    def rule(self, step, addresses):
        return next((rule for rule in self.rules if rule.step == step and any(map(rule.applies, addresses))), None)

    async def handle_RCPT(self, server, session, envelope, address, options):
        rule = self.rule("rcpt", [address])
        if rule:
            return f"{rule.code} refused by the script"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        rule = self.rule("data", envelope.rcpt_tos)
        if rule:
            return f"{rule.code} refused by the script"
        drop = self.rule("drop", envelope.rcpt_tos)
        if not drop or drop.ledger:
            await self.ledger.append(entry(server, envelope), envelope.original_content)
        if drop:
            server.transport.abort()
            return "421 not heard by anyone"
        slow = self.rule("slow", envelope.rcpt_tos)
        await asyncio.sleep(max(self.delay, slow.seconds if slow else 0))
        return "250 2.0.0 Ok"


def entry(server, envelope):
    headers = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(envelope.original_content)
    return {
        "data_at": server.data_at,
        "mail_from": envelope.mail_from,
        "rcpt_to": envelope.rcpt_tos,
        "bytes": len(envelope.original_content),
        "message_id": headers["Message-ID"],
        "dispatch": headers["X-Postledger-Dispatch"],
        "subscriber": headers["X-Postledger-Subscriber"],
        "attempt": headers["X-Postledger-Attempt"],
        "campaign": headers["X-Postledger-Campaign"],
    }


class Server(SMTP):
    """Notes when the DATA line came."""

    data_at = None

    async def smtp_DATA(self, arg):
        self.data_at = time.time()
        await super().smtp_DATA(arg)


Server.smtp_DATA.__smtp_syntax__ = "DATA"
Server.smtp_DATA.__smtp_syntax_extended__ = None
Server.smtp_DATA.__smtp_syntax_when__ = None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", required=True, help="the file to append to")
    parser.add_argument("--messages", help="a directory that gets each accepted message as a file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--delay-before-accept", type=float, default=0, metavar="SECONDS",
                        help="answer each accepted message so much later")
    parser.add_argument("--fail", action="append", default=[], metavar="RULE")
    parser.add_argument("--size-limit", type=int, default=MESSAGE_BYTES_MAX, metavar="BYTES")
    parser.add_argument("--idle-timeout", type=float, default=300, metavar="SECONDS",
                        help="close a connection that says nothing for so long")
    parser.add_argument("--starttls", action="store_true", help="offer STARTTLS and require it")
    parser.add_argument("--implicit-tls", action="store_true", help="TLS from the first byte")
    parser.add_argument("--tls-cert", help="PEM; without it a self-signed certificate for localhost is made beside the ledger")
    parser.add_argument("--tls-key")
    parser.add_argument("--auth", metavar="USER:PASS", help="require this sign-in")
    parser.add_argument("--auth-mechanism", choices=["PLAIN", "LOGIN"], help="offer only this one")
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = parser.parse_args()
    rules = [text for rule in options.fail for text in (STANDARD if rule == "standard" else [rule])]
    try:
        options.rules = [Rule(text) for text in rules]
    except (argparse.ArgumentTypeError, ValueError) as error:
        parser.error(str(error))
    return options


def tls_context(options):
    cert, key = options.tls_cert, options.tls_key
    if not cert:
        # Beside the ledger, so that it goes with it: a server that is killed can remove nothing.
        cert, key = options.ledger + ".cert.pem", options.ledger + ".key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
            check=True, capture_output=True)
        print(f"cert {cert}", flush=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def authenticator(auth):
    user, _, password = auth.encode().partition(b":")

    def check(server, session, envelope, mechanism, data):
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (user, password)
        return AuthResult(success=right, handled=right)

    return check


def server_options(options, context):
    settings = {"hostname": "ledger.localhost", "data_size_limit": options.size_limit, "enable_SMTPUTF8": True,
                "timeout": options.idle_timeout, "loop": asyncio.get_running_loop()}
    if options.starttls:
        settings |= {"tls_context": context, "require_starttls": True}
    if options.auth:
        excluded = {"PLAIN", "LOGIN"} - {options.auth_mechanism} if options.auth_mechanism else set()
        settings |= {"auth_required": True, "auth_require_tls": options.starttls,
                     "authenticator": authenticator(options.auth), "auth_exclude_mechanism": excluded}
    return settings


async def serve(options):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), 4096) or stop.set())
    if options.messages:
        os.makedirs(options.messages, exist_ok=True)
    context = tls_context(options) if options.starttls or options.implicit_tls else None
    handler = Handler(Ledger(options.ledger, options.messages), options.rules, options.delay_before_accept)
    settings = server_options(options, context)
    server = await loop.create_server(lambda: Server(handler, **settings), options.host, options.port,
                                      ssl=context if options.implicit_tls else None, backlog=512)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


def main():
    asyncio.run(serve(arguments()))


if __name__ == "__main__":
    # aiosmtpd warns of a sign-in without TLS, which is what some tests want.
    warnings.simplefilter("ignore")
    main()
