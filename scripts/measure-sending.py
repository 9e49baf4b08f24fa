#!/usr/bin/env python3
"""What settings are worth: sends one campaign to a provider on this machine, and says how fast it went, by the log's own times.

    DATABASE=postgres://…/postgres scripts/measure-sending.py BINARY [READERS] [SETTING=VALUE...]
    … target/release/postledger 4000 provider=0.1 smtp.connections=64 send.dispatches_at_once=8

DATABASE is a server where databases may be made: one is made, and dropped in the end. Besides settings: `provider` is how many seconds
the provider takes for a mail, and `kill_after` how long after the first authorization the process is killed and started again.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

PATIENCE_SECONDS = 600


def sql(database, statement):
    command = ["psql", database, "--no-psqlrc", "--tuples-only", "--no-align", "--command", statement]
    return subprocess.check_output(command, text=True).strip()


class Provider:
    """Takes everything; each mail takes its time."""

    def __init__(self, seconds):
        self.seconds, self.connections, self.port = seconds, 0, None
        threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True).start()
        while self.port is None:
            time.sleep(0.01)

    async def serve(self):
        server = await asyncio.start_server(self.session, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    async def session(self, reader, writer):
        self.connections += 1
        writer.write(b"220 x\r\n")
        try:
            while line := await reader.readline():
                command = line[:4].upper()
                if command == b"DATA":
                    writer.write(b"354 x\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(self.seconds)
                writer.write(b"250-x\r\n250 SIZE\r\n" if command == b"EHLO" else b"250 x\r\n")
                if command == b"QUIT":
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()


class Postledger:
    def __init__(self, binary, database, folder, port, settings):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.listen = f"127.0.0.1:{free.getsockname()[1]}"
        self.binary, self.folder, self.url = binary, folder, f"http://{self.listen}"
        settings = {
            "database.url": database, "keys.master_key_file": f"{folder}/key", "api.listen": self.listen, "api.public_url": self.url,
            "send.mailer": "smtp", "send.postal_address": "Example Press", "smtp.host": "127.0.0.1", "smtp.port": port,
            "smtp.tls": "none", "outbox.dir": f"{folder}/outbox", "metrics.listen": "", "log.filter": "warn"} | settings
        self.environment = {"PATH": os.environ["PATH"]}
        for name, value in settings.items():
            self.environment["POSTLEDGER_" + name.upper().replace(".", "__")] = str(value)
        self.run("keys", "generate", f"{folder}/key")
        self.run("migrate")
        self.key = self.run("api-key", "add", "measure", "--scopes", "all").strip()
        self.start()

    def run(self, *arguments):
        return subprocess.check_output([self.binary, *arguments], env=self.environment, text=True)

    def start(self):
        with open(f"{self.folder}/log", "a") as log:
            self.process = subprocess.Popen([self.binary, "serve"], env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                return self.call("/groups")
            except urllib.error.URLError:
                time.sleep(0.1)
        sys.exit(f"it does not start: {self.folder}/log")

    def call(self, path, body=None, content_type="application/json"):
        body = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": content_type}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers)) as answer:
            return json.load(answer)

    def send(self, readers, on_unknown):
        group = self.call("/groups", {"name": "readers"})["group_id"]
        addresses = "email\n" + "".join(f"reader{n}@example.com\n" for n in range(readers))
        of = f"/subscribers/import?group={group}&consent_source=measure"
        imported = self.call(of, addresses.encode(), "text/csv")["import_id"]
        while self.call(f"/imports/{imported}")["status"] != "completed":
            time.sleep(0.2)
        letter = {"name": "letter", "subject": "Hello", "html": "<p>Hello {{ name }}</p>"}
        template = self.call("/templates", letter)["template_id"]
        now = time.strftime("%FT%TZ", time.gmtime())
        new = {"template": template, "group": group, "time": now, "on_unknown": on_unknown}
        return self.call("/emails", new)["campaign_id"]


TAKEN = """
    SELECT round(extract(epoch FROM max(recorded_at) - min(recorded_at))::numeric, 1),
        round($READERS / extract(epoch FROM max(recorded_at) - min(recorded_at))::numeric),
        count(*) FILTER (WHERE event_type = 'SendAuthorized'),
        sum(jsonb_array_length(coalesce(payload -> event_type -> 'returned', '[]'))),
        sum(jsonb_array_length(coalesce(payload -> event_type -> 'deferred', '[]'))),
        sum(jsonb_array_length(coalesce(payload -> event_type -> 'unknown', '[]')))
    FROM events WHERE aggregate_type = 'dispatch' AND event_type <> 'DispatchPlanned'"""


def measure(binary, readers, settings, server, folder):
    provider = Provider(float(settings.pop("provider", 0)))
    kill_after, on_unknown = settings.pop("kill_after", None), settings.pop("on_unknown", "hold")
    name = f"measure_{uuid.uuid4().hex}"
    database = f"{server.rsplit('/', 1)[0]}/{name}"
    sql(server, f"CREATE DATABASE {name}")
    postledger = None
    try:
        postledger = Postledger(binary, database, folder, provider.port, settings)
        campaign = postledger.send(readers, on_unknown)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while sql(database, f"SELECT status FROM campaign_gates WHERE campaign_id = '{campaign}'") != "completed":
            if time.monotonic() > deadline:
                sys.exit(f"it takes too long: {folder}/log")
            if kill_after is not None and sql(database, "SELECT count(*) FROM permits") != "0":
                time.sleep(float(kill_after))
                kill_after = None
                postledger.process.kill()
                postledger.process.wait()
                postledger.start()
            time.sleep(0.1)
        seconds, rate, chunks, *rest = sql(database, TAKEN.replace("$READERS", str(readers))).split("|")
        print(f"{readers} mails in {seconds} s: {rate} mails/s, {chunks} authorizations, {provider.connections} connections opened; "
              "{} returned, {} deferred, {} unknown".format(*rest), flush=True)
    finally:
        if postledger:
            postledger.process.terminate()
            postledger.process.wait()
        sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def main():
    if len(sys.argv) < 2 or "DATABASE" not in os.environ:
        sys.exit(__doc__)
    given = [argument.split("=", 1) for argument in sys.argv[2:] if "=" in argument]
    readers = next((int(argument) for argument in sys.argv[2:] if "=" not in argument), 2_000)
    with tempfile.TemporaryDirectory() as folder:
        measure(sys.argv[1], readers, dict(given), os.environ["DATABASE"], folder)


main()
