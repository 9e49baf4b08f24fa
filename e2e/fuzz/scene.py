"""What calls need to mean something: ids that exist, and people who may sign in. Made over REST, as a client would."""
import functools
import hashlib
import json
import os
import threading
import time
import uuid

import requests

PASSWORD = "a password of the tests"
PATIENCE_SECONDS = 30
# The beginning of a PNG.
IMAGE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0"


def utc(days_ahead=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days_ahead * 86_400))


class Scene:
    def __init__(self, stack):
        self.url = stack["url"]
        self.api_key = stack["api_key"]
        self.admin = {"email": stack["email"], "password": stack["password"]}
        # Of a reader, from a mail.
        self.link = stack["link_token"]
        self.readers_group = stack["group_id"]
        self.once = threading.Lock()

    @classmethod
    def from_environment(cls):
        with open(os.environ["POSTLEDGER_FUZZ_SCENE"], encoding="utf-8") as file:
            return cls(json.load(file))

    def call(self, method, path, bearer=None, **body):
        headers = {"Authorization": f"Bearer {bearer or self.api_key}", **body.pop("headers", {})}
        answer = requests.request(method, self.url + path, headers=headers, timeout=PATIENCE_SECONDS, **body)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def post(self, path, body=None, bearer=None):
        return self.call("POST", path, bearer, json=body or {})

    def sign_in(self, credentials=None):
        return self.post("/auth/login", credentials or self.admin)

    def as_admin(self, path, body):
        return self.post(path, body, self.sign_in()["access_token"])

    # Things with ids, new ones: a call may delete them.

    def group(self):
        return self.post("/groups", {"name": "Fuzzed"})["group_id"]

    def email(self):
        return f"{uuid.uuid4()}@example.com"

    def subscriber(self, group=None):
        body = {"email": self.email(), "groups": [group or self.readers_group], "consent": {"source": "fuzz"}}
        return self.post("/subscribers", body)["subscriber_id"]

    def template(self):
        body = {"name": "Fuzzed", "subject": "Hello", "html": "<p>Hello</p>"}
        return self.post("/templates", body)["template_id"]

    def image(self):
        return {
            "filename": "fuzzed.png",
            "content_type": "image/png",
            "size_bytes": len(IMAGE),
            "sha256": hashlib.sha256(IMAGE).hexdigest(),
        }

    def medium(self):
        return self.post("/media", self.image())["media_id"]

    def uploaded(self):
        """As far as the object store has it: it is still to be completed."""
        announced = self.post("/media", self.image())
        upload = announced["upload"]
        answer = requests.put(upload["url"], data=IMAGE, headers=upload["headers"], timeout=PATIENCE_SECONDS)
        answer.raise_for_status()
        return announced["media_id"]

    def campaign(self, **more):
        body = {"template": self.template(), "group": self.readers_group, **more}
        return self.post("/emails", body)["campaign_id"]

    def scheduled(self):
        """So far off that nothing sends it meanwhile."""
        return self.campaign(time=utc(days_ahead=30))

    def imported(self):
        """No process works on imports here: it waits until it is cancelled."""
        headers = {"Content-Type": "text/csv"}
        data = f"email\n{self.email()}\n"
        path = f"/subscribers/import?group={self.readers_group}&consent_source=fuzz"
        return self.call("POST", path, headers=headers, data=data)["import_id"]

    def test_mail(self):
        path = f"/templates/{self.template()}/test"
        return self.post(path, {"to": [self.email()]})["dispatch_id"]

    def user(self):
        email = self.email()
        made = self.as_admin("/users", {"email": email, "roles": ["admin"], "password": PASSWORD})
        return made["user_id"], {"email": email, "password": PASSWORD}

    def user_id(self):
        return self.user()[0]

    def invited_id(self):
        return self.as_admin("/users", {"email": self.email(), "roles": ["analyst"]})["user_id"]

    def key_id(self):
        return self.as_admin("/api-keys", {"name": "Fuzzed", "scopes": ["groups:read"]})["api_key_id"]

    def guest(self):
        """Somebody who may sign out, change the password and end sessions without being missed."""
        return self.sign_in(self.user()[1])

    # Campaigns that stay as they are, however often they are asked for.

    def sending(self):
        with self.once:
            return self._sending

    def paused(self):
        with self.once:
            return self._paused

    def ended(self):
        with self.once:
            return self._ended

    @functools.cached_property
    def _sending(self):
        """The null mailer takes longer than any test."""
        group = self.group()
        self.subscriber(group)
        return self._launched(group, "sending")

    @functools.cached_property
    def _paused(self):
        group = self.group()
        self.subscriber(group)
        campaign = self._launched(group, "sending")
        self.post(f"/emails/{campaign}/pause", {})
        return campaign

    @functools.cached_property
    def _ended(self):
        return self._launched(self.group(), "completed")

    def _launched(self, group, status):
        campaign = self.campaign(group=group, mailer="null")
        self.post("/schedule", {"campaign_id": campaign, "datetime": utc()})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.status(campaign) != status:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the campaign never was {status}")
            time.sleep(0.05)
        return campaign

    def status(self, campaign):
        """None where the read model has not got it yet."""
        listed = self.call("GET", "/emails?limit=500")["items"]
        return next((item["status"] for item in listed if item["campaign_id"] == campaign), None)
