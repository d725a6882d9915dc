"""Who may do what."""

from collections.abc import Mapping
from unittest.mock import patch

import pytest

from dbrrl.dashboard import access
from dbrrl.dashboard.access import ATTEMPTS, BURST, RATE, Access, Refusal

LOCAL = frozenset(access.LOOPBACK)


def status(check: object, *arguments: object) -> int:
    """The status with which a check refuses; 0 where it does not."""
    try:
        check(*arguments)  # type: ignore[operator]
    except Refusal as refusal:
        return refusal.status if refusal.text else -1
    return 0


def test_a_token_opens_a_session_and_another_word_none() -> None:
    one = Access(80, LOCAL)
    session = one.open_with_token(one.token)
    assert status(one.check_known, {}, {one.cookie: session}) == 0
    assert status(one.check_known, {"authorization": f"Bearer {one.token}"}, {}) == 0
    for headers, cookies in (
        ({}, {}),
        ({}, {one.cookie: ""}),
        ({}, {one.cookie: one.token}),
        ({}, {"dbrrl-81": session}),
        ({"authorization": f"Bearer {session}"}, {}),
        ({"authorization": one.token}, {}),
        ({"authorization": "Bearer "}, {}),
    ):
        assert status(one.check_known, headers, cookies) == 401
    assert status(one.open_with_token, "") == status(one.open_with_token, one.token + "x") == 401
    assert Access(80, LOCAL).token != one.token


def test_a_password_takes_the_place_of_the_token_and_is_not_guessed() -> None:
    one = Access(80, frozenset(), "correct horse")
    assert status(one.check_known, {}, {one.cookie: one.open_with_password("correct horse")}) == 0
    assert status(one.open_with_token, one.token) == 401
    for _ in range(ATTEMPTS):
        assert status(one.open_with_password, "wrong") == 401
    assert status(one.open_with_password, "wrong") == status(one.open_with_password, "correct horse") == 429
    assert status(Access(80, LOCAL).open_with_password, "") == 401


def test_a_session_that_asks_too_often_is_told_to_wait_and_others_are_not() -> None:
    one = Access(80, LOCAL)
    first, second = ({one.cookie: one.open_with_token(one.token)} for _ in range(2))
    with patch.object(access.time, "monotonic", return_value=1000.0) as clock:
        asked = [status(one.check_known, {}, first) for _ in range(int(BURST) + 5)]
        assert asked == [0] * int(BURST) + [429] * 5
        assert status(one.check_known, {}, second) == 0
        assert status(one.check_known, {"authorization": f"Bearer {one.token}"}, {}) == 0
        clock.return_value += 0.1
        asked = [status(one.check_known, {}, first) for _ in range(int(RATE / 10) + 5)]
        assert asked.count(0) == pytest.approx(RATE / 10, abs=1) and asked[-1] == 429
        clock.return_value += 1e6
        assert [status(one.check_known, {}, first) for _ in range(int(BURST) + 1)].count(429) == 1


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "127.0.0.1:80", "origin": "http://127.0.0.1:80"}, 0),
        ({"host": "127.0.0.1:80", "origin": "http://127.0.0.1:81"}, 403),
        ({"host": "127.0.0.1:80", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1:80", "origin": "http://127.0.0.1:80.evil.example"}, 403),
        ({"host": "127.0.0.1:80", "origin": "null"}, 403),
        ({"host": "127.0.0.1:80", "origin": "null", "authorization": "Bearer TOKEN"}, 403),
        ({"host": "127.0.0.1:80", "origin": "http://["}, 403),
        ({"host": "127.0.0.1:80", "authorization": "x"}, 403),
        ({"host": "127.0.0.1:80", "authorization": "Bearer x"}, 403),
        ({"host": "127.0.0.1:80"}, 403),
        ({"host": "127.0.0.1:80", "authorization": "Bearer TOKEN"}, 0),
        ({"host": "", "origin": "null"}, 403),
    ],
)
def test_a_change_comes_from_a_page_of_the_server(headers: Mapping[str, str], code: int) -> None:
    one = Access(80, LOCAL)
    headers = {name: value.replace("TOKEN", one.token) for name, value in headers.items()}
    assert status(one.check_origin, "POST", headers) == code
    assert status(one.check_origin, "GET", headers) == 0


def test_the_server_answers_to_its_own_names_alone() -> None:
    one = Access(80, LOCAL)
    for host in ("127.0.0.1:80", "localhost:80", "[::1]:80", "localhost"):
        assert status(one.check_host, {"host": host}) == 0
    for host in (
        "evil.example", "127.0.0.1.evil.example:80", "", "localhost.:80", "x@localhost.evil", "[",
        "localhost:80/login?", "localhost/login", "localhost:80#", "x@localhost", "localhost:x",
    ):  # fmt: skip
        assert status(one.check_host, {"host": host}) == 403
    assert status(Access(80, frozenset(), "password").check_host, {"host": "name.of.this.machine"}) == 0


def test_changes_can_be_switched_off() -> None:
    assert status(Access(80, LOCAL, read_only=True).check_change) == 403 and status(Access(80, LOCAL).check_change) == 0
