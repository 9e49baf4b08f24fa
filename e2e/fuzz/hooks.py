"""What schemathesis has to be told of Postledger: who calls, and which ids exist.

An id that was generated is nobody's, and all that it ever gets is a 404. So half of the valid calls name what was made
for them, and every one until one has succeeded; the rest goes as it was generated.
"""
import atexit
import os
import zlib

import schemathesis
from scene import PASSWORD, Scene, utc

SCENE = Scene.from_environment()

# What is made for a call: ids in its path, and fields of its body. Each entry makes new ones.
PATHS = {
    "/api-keys/{id}": lambda: {"id": SCENE.key_id()},
    "/audit/subscribers/{id}": lambda: {"id": SCENE.subscriber()},
    "/dispatches/{id}": lambda: {"id": SCENE.test_mail()},
    "/docs/{file}": lambda: {"file": "swagger-ui.css"},
    "/emails/{id}/pause": lambda: {"id": SCENE.sending()},
    "/emails/{id}/resume": lambda: {"id": SCENE.sending()},
    "/emails/{id}/progress": lambda: {"id": SCENE.ended()},
    "/emails/{id}/cancel": lambda: {"id": SCENE.scheduled()},
    "/emails/{id}/unschedule": lambda: {"id": SCENE.scheduled()},
    "/emails/{id}/template": lambda: {"id": SCENE.paused()},
    "/emails/{id}": lambda: {"id": SCENE.campaign()},
    "/groups/{id}/members/{subscriber_id}": lambda: {"id": SCENE.group(), "subscriber_id": SCENE.subscriber()},
    "/groups/{id}": lambda: {"id": SCENE.group()},
    "/imports/{id}": lambda: {"id": SCENE.imported()},
    "/media/{id}": lambda: {"id": SCENE.medium()},
    "/media/{id}/complete": lambda: {"id": SCENE.uploaded()},
    "/subscribers/{id}": lambda: {"id": SCENE.subscriber()},
    "/templates/{id}": lambda: {"id": SCENE.template()},
    "/users/{id}": lambda: {"id": SCENE.user_id()},
    "/users/{id}/invitation": lambda: {"id": SCENE.invited_id()},
}
BODIES = {
    "POST /auth/login": lambda: SCENE.admin,
    "POST /auth/password-reset": lambda: {"email": SCENE.email()},
    "POST /auth/refresh": lambda: {"refresh_token": SCENE.guest()["refresh_token"]},
    "POST /users": lambda: {"email": SCENE.email(), "password": PASSWORD},
    "POST /subscribers": lambda: {"email": SCENE.email(), "groups": [SCENE.group()]},
    "POST /subscriptions": lambda: {"email": SCENE.email(), "groups": [SCENE.readers_group], "name": None},
    "PATCH /subscribers/{id}": lambda: {"email": SCENE.email()},
    "POST /groups/{id}/members": lambda: {"subscriber_id": SCENE.subscriber()},
    "POST /media": lambda: SCENE.image(),
    "POST /emails": lambda: {"template": SCENE.template(), "group": SCENE.group(), "time": None, "mailer": "outbox"},
    "PATCH /emails/{id}": lambda: {"template": SCENE.template(), "group": SCENE.group(), "mailer": "outbox"},
    "POST /emails/{id}/template": lambda: {"version": "latest"},
    "POST /schedule": lambda: {"campaign_id": SCENE.campaign(), "datetime": utc(days_ahead=30)},
    "POST /templates/{id}/preview": lambda: {"subscriber_id": SCENE.subscriber()},
    "POST /templates/{id}/test": lambda: {"to": [SCENE.email()]},
    "POST /emails/unsubscribe": lambda: {"groups": [SCENE.readers_group]},
    "PUT /preferences": lambda: {"groups": [{"group_id": SCENE.readers_group, "subscribed": True}]},
}
# A body of either of two kinds: what was generated of one must not stay beside the other.
WHOLE = {"POST /auth/login"}
# What was generated for these never gets further than a refusal, or follows a campaign that goes on for ever.
ALWAYS = {"POST /auth/login", "POST /auth/refresh", "GET /emails/{id}/progress"}
# Of these, who calls is not to be missed afterwards.
FAREWELLS = {"POST /auth/logout", "POST /auth/password", "DELETE /auth/sessions/{id}"}
# Access tokens of the administrator: others that a call bears are schemathesis' own, made to be refused.
ADMINS = set()
# A generated text is no position and no version that there ever was.
REMEMBERED = ("Postledger-Position", "If-Match")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """An empty parameter is as good as none. OpenAPI has a word for that, which what writes our reference lacks."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query" and not parameter.get("required"):
                    parameter["allowEmptyValue"] = True


@schemathesis.auth()
class Bearer:
    """An administrator where people are asked for; a key with all scopes half of the time where it is as good."""

    def get(self, case, context):
        ADMINS.add(token := SCENE.sign_in()["access_token"])
        return token

    def set(self, case, access_token, context):
        schemes = {name for requirement in case.operation.definition.raw.get("security", []) for name in requirement}
        if "preference_token" in schemes:
            bearer = SCENE.link
        elif "api_key" in schemes and parity(case):
            bearer = SCENE.api_key
        elif schemes:
            bearer = access_token
        else:
            return
        case.headers["Authorization"] = f"Bearer {bearer}"


def parity(case):
    """By the case itself and no chance: what fails is tried again, and has to be the same then."""
    return zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode()) % 2


@schemathesis.hook
def before_call(context, case, kwargs):
    label = case.operation.label
    if label in FAREWELLS and case.headers.get("Authorization", "").removeprefix("Bearer ") in ADMINS:
        say_farewell(label, case)
        return
    is_valid = case.meta is None or case.meta.generation.mode.is_positive
    if not is_valid or not (parity(case) or label not in REACHED or label in ALWAYS):
        return
    for name in REMEMBERED:
        case.headers.pop(name, None)
    if make := longest(case.operation.path):
        case.path_parameters = {**case.path_parameters, **make()}
    if label in BODIES and isinstance(case.body, dict) and "List-Unsubscribe" not in case.body:
        case.body = {**({} if label in WHOLE else case.body), **BODIES[label]()}


def longest(path):
    """`/emails/{id}/report` is called with what `/emails/{id}` is called with."""
    prefixes = [prefix for prefix in PATHS if path == prefix or path.startswith(prefix + "/")]
    return PATHS[max(prefixes, key=len)] if prefixes else None


def say_farewell(label, case):
    _, credentials = SCENE.user()
    token = SCENE.sign_in(credentials)["access_token"]
    case.headers["Authorization"] = f"Bearer {token}"
    if label == "POST /auth/password" and isinstance(case.body, dict) and parity(case):
        case.body = {"current_password": PASSWORD, "new_password": PASSWORD + " anew"}
    if label == "DELETE /auth/sessions/{id}" and parity(case):
        session = SCENE.call("GET", "/auth/me", token)["session_id"]
        case.path_parameters = {"id": session}


REACHED = set()


@schemathesis.hook
def after_call(context, case, response):
    if 200 <= response.status_code < 300:
        REACHED.add(case.operation.label)


@atexit.register
def tell():
    with open(os.environ["POSTLEDGER_FUZZ_REACHED"], "w", encoding="utf-8") as file:
        file.write("".join(f"{label}\n" for label in sorted(REACHED)))
