"""A browser and a user, as tests of signing in want them."""

import re
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from authserver.login.routes import LoginPages
from authserver.storage.database import Database, Writer
from authserver.users.records import User, UserProvider, UserRole, UserStatus
from authserver.users.store import insert_user
from authserver.web.http import HttpRequest, HttpResponse
from server.tests.web.builders import a_request, answer_of

PASSWORD = "correct horse battery staple"
FORM = (b"content-type", b"application/x-www-form-urlencoded")


class Browser:
    """Keeps cookies and fills in the login form."""

    def __init__(self, pages: LoginPages) -> None:
        self.endpoints = {(m, r.path): endpoint for r in pages.routes() for m, endpoint in r.endpoints.items()}
        self.cookies: dict[str, str] = {}

    def request(
        self, method: str, target: str, *, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> HttpRequest:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = ((b"cookie", cookie.encode()), *headers) if cookie else headers
        return a_request(method=method, target=target, body=(body,), headers=sent)

    async def send(
        self, method: str, target: str, *, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> HttpResponse:
        request = self.request(method, target, body=body, headers=headers)
        response = await answer_of(self.endpoints[method, request.path], request)
        for cookie in header_values(response, b"set-cookie"):
            for name, morsel in SimpleCookie(cookie).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return response

    async def get(self, target: str) -> HttpResponse:
        return await self.send("GET", target)

    async def post(self, target: str, fields: Mapping[str, str], *headers: tuple[bytes, bytes]) -> HttpResponse:
        return await self.send("POST", target, body=urlencode(fields).encode(), headers=(FORM, *headers))

    async def sign_in(
        self, email: str = "ann@example.com", password: str = PASSWORD, redirect: str = ""
    ) -> HttpResponse:
        shown = await self.get("/login?" + urlencode({"redirect": redirect}))
        return await self.post("/login", hidden_fields(shown) | {"email": email, "password": password})


def hidden_fields(response: HttpResponse) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', response.body.decode())
    return {name: value.replace("&amp;", "&") for name, value in found}


def header_values(response: HttpResponse, name: bytes) -> list[str]:
    return [value.decode() for key, value in response.headers if key == name]


def header(response: HttpResponse, name: bytes) -> str:
    (value,) = header_values(response, name)
    return value


def a_user(**changes: Any) -> User:
    fields: dict[str, Any] = {
        "id": "user-1",
        "email": "ann@example.com",
        "name": "Ann",
        "role": UserRole.USER,
        "status": UserStatus.ACTIVE,
        "password_hash": "",
        "provider": UserProvider.LOCAL,
        "provider_sub": "",
        "session_epoch": 0,
        "version": 1,
        "created_at": 1,
        "updated_at": 1,
    }
    return User(**fields | changes)


async def insert(db: Database, *users: User) -> None:
    async def write(tx: Writer) -> None:
        for user in users:
            await insert_user(tx, user)

    await db.write(write)
