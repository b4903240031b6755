"""Digest: the RFCs' own examples, and what attackers and odd phones send."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest

from pbxcore.sip import digest
from pbxcore.sip.digest import Authenticator, Challenge, Granted, Refused, Secret, respond
from pbxcore.sip.message import Request, parse

REALM = "pbx.example.com"
HOME = "192.0.2.10"
USERS = {"101": Secret.from_password("101", REALM, "one"), "102": Secret.from_password("102", REALM, "two")}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def request(*rows: str, method: str = "REGISTER", uri: str = "sip:pbx.example.com") -> Request:
    head = f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\r\n"
    message = parse((head + "".join(f"{row}\r\n" for row in rows) + "\r\n").encode("utf-8", "surrogateescape"))
    assert isinstance(message, Request)
    return message


class Server:
    """An authenticator with its clock, and a client that answers what it says."""

    def __init__(self, **options: object) -> None:
        self.clock = Clock()
        self.options = options
        self.auth = Authenticator(b"k" * 32, self.clock, **options)   # type: ignore[arg-type]  # options of the test
        self.counts: dict[str, int] = {}

    def challenge(self, *, source: str = HOME, proxy: bool = False) -> list[str]:
        return [value for _, value in self.auth.challenge(request(), source, REALM, proxy=proxy)]

    def credentials(
        self, challenges: list[str], user: str = "101", phrase: str = "one", uri: str = "sip:pbx.example.com"
    ) -> str:
        value = respond(
            challenges, "REGISTER", uri, user, phrase, token=lambda: "c0ffee", nc_counter=self.counts
        )
        assert value is not None
        return value

    def check(self, *values: str, source: str = HOME, uri: str = "sip:pbx.example.com", method: str = "REGISTER",
              find: Callable[[str], Secret | None] = USERS.get) -> object:
        asked = request(*(f"Authorization: {value}" for value in values), uri=uri, method=method)
        return self.auth.check(asked, source, REALM, find)


# ---- the RFCs' examples

RFC7616 = (
    'realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def answer(*challenges: str, phrase: str = "Circle of Life", cnonce: str = "", counts: dict[str, int] | None = None,
           user: str = "Mufasa", body: bytes = b"") -> dict[str, str]:
    value = respond(challenges, "GET", "/dir/index.html", user, phrase, token=lambda: cnonce, body=body,
                    nc_counter={} if counts is None else counts)
    assert value is not None
    params = digest._params(value)
    assert params is not None
    return params


@pytest.mark.parametrize(("algorithm", "expected"), [
    ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
])
def test_rfc7616_3_9_1(algorithm: str, expected: str) -> None:
    given = answer(f"Digest {RFC7616}, algorithm={algorithm}", cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    assert given["response"] == expected
    assert given["nc"] == "00000001"
    assert given["qop"] == "auth"
    assert given["opaque"] == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


def test_rfc2617_3_5() -> None:
    given = answer(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"',
        phrase="Circle Of Life", cnonce="0a4f113b",
    )
    assert given["response"] == "6629fae49393a05397450978507c4ef1"
    assert "algorithm" not in given


def test_rfc2069_server_without_qop() -> None:
    given = answer('Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"',
                   phrase="CircleOfLife")
    assert given["response"] == "1949323746fe6a43ef61f9606e7febea"   # as corrected by erratum 749 of RFC 2069
    assert not {"qop", "nc", "cnonce"} & given.keys()


def test_the_server_reads_rfc7616_3_9_1() -> None:
    for name, expected in (("md5", "8ca523f5e9506fed4657c9700eebdbec"),
                           ("sha-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")):
        given = digest._Given(
            "Mufasa", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "/dir/index.html", "", name,
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "00000001", 1,
        )
        assert digest._expected(
            given, "GET", Secret.from_password("Mufasa", "http-auth@example.org", "Circle of Life")) == expected


# ---- the client's side

def test_the_strongest_challenge_is_answered() -> None:
    offered = [f"Digest {RFC7616}, algorithm={name}" for name in ("MD5", "SHA-512-256", "SHA-256", "SHA-1024")]
    assert answer(*offered)["algorithm"] == "SHA-512-256"
    assert answer(*offered[:1], *offered[2:])["algorithm"] == "SHA-256"


def test_auth_int_covers_the_body_when_nothing_else_is_offered() -> None:
    given = answer('Digest realm="r", nonce="n", qop="auth-int"', user="u", phrase="p", cnonce="c", body=b"\xffv=0")
    def md5(data: bytes) -> str:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    a2 = md5(b"GET:/dir/index.html:" + md5(b"\xffv=0").encode())
    assert given["qop"] == "auth-int"
    assert given["response"] == md5(f"{md5(b'u:r:p')}:n:00000001:c:auth-int:{a2}".encode())


def test_session_variants_mix_the_nonces_into_the_secret() -> None:
    given = answer('Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess', user="u", phrase="p", cnonce="c")
    a1 = digest.md5(f"{digest.md5('u:r:p')}:n:c")
    assert given["response"] == digest.md5(f"{a1}:n:00000001:c:auth:{digest.md5('GET:/dir/index.html')}")
    assert given["algorithm"] == "MD5-sess"
    without_qop = answer('Digest realm="r", nonce="n", algorithm=MD5-sess', user="u", phrase="p", cnonce="c")
    assert without_qop["cnonce"] == "c"


def test_counts_rise_for_a_nonce_and_are_bounded() -> None:
    counts: dict[str, int] = {}
    first = [answer('Digest realm="r", nonce="same", qop="auth"', counts=counts)["nc"] for _ in range(3)]
    assert first == ["00000001", "00000002", "00000003"]
    for number in range(1000):
        answer(f'Digest realm="r", nonce="{number}", qop="auth"', counts=counts)
    assert len(counts) == digest.MAX_COUNTERS


@pytest.mark.parametrize("challenge", [
    "Basic realm=\"r\"", "Digest", "", "Digest realm=\"r\"", "Digest nonce=\"n\"",
    "Digest realm=r, nonce=n, algorithm=X",
    "Digest realm=\"r\", nonce=\"n\", qop=\"token\"", "Digest realm=\"r, nonce=\"n\"", "Digest " + "x" * 65536,
    "Digest realm=\"r\", realm=\"r\", nonce=\"n\"",
])
def test_challenges_that_are_not_understood_get_no_answer(challenge: str) -> None:
    assert respond([challenge], "GET", "/", "u", "p", token=lambda: "c", nc_counter={}) is None


def test_a_challenge_cannot_add_a_header_of_its_own() -> None:
    value = respond(['Digest realm="r\r\nX: y", nonce="n"'], "GET", "/", "u", "p", token=lambda: "c", nc_counter={})
    assert value is not None
    assert "\r" not in value
    assert "\n" not in value


# ---- the server's side

def test_sha256_is_offered_before_md5_and_both_are_taken() -> None:
    server = Server()
    headers = server.auth.challenge(request(), HOME, REALM)
    assert [name for name, _ in headers] == ["WWW-Authenticate"] * 2
    offered = [digest._params(value) for _, value in headers]
    assert [params and params["algorithm"] for params in offered] == ["SHA-256", "MD5"]
    for challenge in (value for _, value in headers):
        assert server.check(server.credentials([challenge])) == Granted("101")


def test_the_proxy_kind_uses_its_own_headers() -> None:
    server = Server()
    headers = server.auth.challenge(request(), HOME, REALM, proxy=True)
    assert {name for name, _ in headers} == {"Proxy-Authenticate"}
    value = server.credentials([value for _, value in headers])
    message = request(f"Proxy-Authorization: {value}")
    assert server.auth.check(message, HOME, REALM, USERS.get) == Challenge(False)
    assert server.auth.check(message, HOME, REALM, USERS.get, proxy=True) == Granted("101")


def test_wrong_password_and_unknown_user_are_one_answer() -> None:
    server = Server()
    assert server.check(server.credentials(server.challenge(), phrase="guess")) == Refused("101")
    assert server.check(server.credentials(server.challenge(), user="999", phrase="guess")) == Refused("999")
    assert server.check(server.credentials(server.challenge(), user="102", phrase="one")) == Refused("102")


def test_known_and_unknown_users_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are counted, and the sizes of what is hashed: a clock would tell less and fail on a busy machine."""
    steps: list[tuple[str, int]] = []

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object) -> object:
            steps.append((name, sum(len(a) for a in arguments if isinstance(a, str | bytes))))
            return function(*arguments)

        return wrapper

    monkeypatch.setattr(digest, "SERVER_HASHES", {
        name: counted(name, function) for name, function in digest.SERVER_HASHES.items()
    })
    monkeypatch.setattr(digest.hmac, "digest", counted("hmac", digest.hmac.digest))
    monkeypatch.setattr(digest.hmac, "compare_digest", counted("compare", digest.hmac.compare_digest))

    def trace(user: str, which: int) -> list[tuple[str, int]]:
        server = Server()
        value = server.credentials(server.challenge()[which:which + 1], user=user, phrase="guess")
        steps.clear()
        assert server.check(value) == Refused(user)
        return steps.copy()

    for which in (0, 1):
        assert trace("101", which) == trace("999", which)
        assert [name for name, _ in steps] == ["hmac", "compare", *[("sha-256", "md5")[which]] * 2, "compare"]


def test_the_dummy_lets_nobody_in() -> None:
    server = Server()
    server.auth._nobody = Secret.from_password("999", REALM, "guess")   # as if somebody had found it out
    assert server.check(server.credentials(server.challenge(), user="999", phrase="guess")) == Refused("999")


def test_a_replayed_count_is_refused_and_a_new_one_is_not() -> None:
    server = Server()
    challenge = server.challenge()
    first = server.credentials(challenge)
    assert server.check(first) == Granted("101")
    assert server.check(first) == Challenge(True)
    assert server.check(server.credentials(challenge)) == Granted("101")
    assert server.check(first) == Challenge(True)


def test_counts_may_overtake_each_other_but_not_by_far() -> None:
    server = Server()
    challenge = server.challenge()
    values = [server.credentials(challenge) for _ in range(digest.WINDOW + 10)]
    assert server.check(values[3]) == Granted("101")
    assert server.check(values[1]) == Granted("101")
    assert server.check(values[1]) == Challenge(True)
    assert server.check(values[3]) == Challenge(True)
    assert server.check(values[-1]) == Granted("101")
    assert server.check(values[0]) == Challenge(True)    # has fallen out of the window
    assert server.check(values[-2]) == Granted("101")


def test_a_wrong_password_does_not_use_up_a_count() -> None:
    server = Server()
    challenge = server.challenge()
    right = server.credentials(challenge)
    server.counts.clear()
    assert server.check(server.credentials(challenge, phrase="guess")) == Refused("101")
    assert server.check(right) == Granted("101")
    assert len(server.auth._used) == 1


def test_a_client_without_qop_may_use_a_nonce_once() -> None:
    server = Server()
    bare = [value.replace(', qop="auth"', "") for value in server.challenge()]
    value = server.credentials(bare)
    assert "qop" not in value
    assert server.check(value) == Granted("101")
    assert server.check(value) == Challenge(True)
    assert server.check(server.credentials(server.challenge())) == Granted("101")


def test_qop_cannot_be_stripped_to_replay_and_cannot_be_added() -> None:
    server = Server()
    challenge = server.challenge()
    assert server.check(server.credentials(challenge)) == Granted("101")
    bare = server.credentials([value.replace(', qop="auth"', "") for value in challenge])
    assert server.check(bare) == Challenge(True)
    other = server.challenge()
    assert server.check(server.credentials([value.replace(', qop="auth"', "") for value in other])) == Granted("101")
    assert server.check(server.credentials(other)) == Challenge(True)


def test_a_nonce_expires_and_says_so() -> None:
    server = Server(lifetime=60.0)
    value = server.credentials(server.challenge())
    server.clock.now += 61
    assert server.check(value) == Challenge(True)
    assert 'stale=true' in server.auth.challenge(request(), HOME, REALM, stale=True)[0][1]
    assert 'stale' not in server.auth.challenge(request(), HOME, REALM)[0][1]


def test_expiry_tells_nothing_about_users_or_passwords() -> None:
    server = Server(lifetime=60.0)
    challenge = server.challenge()
    server.clock.now += 61
    for user, phrase in (("101", "one"), ("101", "guess"), ("999", "guess")):
        assert server.check(server.credentials(challenge, user=user, phrase=phrase)) == Challenge(True)


def test_a_nonce_is_good_for_its_address_and_realm_only() -> None:
    server = Server()
    value = server.credentials(server.challenge(source="198.51.100.7"))
    assert server.check(value) == Challenge(True)
    assert server.check(value, source="198.51.100.7") == Granted("101")
    other = [v for _, v in server.auth.challenge(request(), HOME, "other")]
    assert server.check(server.credentials([v.replace('"other"', f'"{REALM}"') for v in other])) == Challenge(True)


def test_a_nonce_of_an_earlier_life_is_stale() -> None:
    server = Server()
    value = server.credentials(server.challenge())
    server.clock.now += 5
    reborn = Server()
    reborn.clock = server.clock
    reborn.auth = Authenticator(b"k" * 32, reborn.clock)
    assert reborn.check(value) == Challenge(True)


def test_a_nonce_from_the_future_or_made_up_is_stale() -> None:
    server = Server()
    good = server.challenge()[0]
    nonce = (digest._params(good) or {})["nonce"]
    server.clock.now -= 2
    assert server.check(server.credentials([good])) == Challenge(True)
    server.clock.now += 2
    for made_up in ("", "x", "0" * 52, nonce[:-1], nonce + "0", nonce.upper(), nonce[::-1], "\u0660" * 52):
        assert server.check(server.credentials([good.replace(nonce, made_up)])) == Challenge(True), made_up


def test_memory_of_counts_is_bounded_and_forgetting_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(lifetime=1e6)
    monkeypatch.setattr(digest, "MAX_NONCES", 50)
    values = []
    for _ in range(200):
        server.clock.now += 1
        values.append(server.credentials(server.challenge()))
        assert server.check(values[-1]) == Granted("101")
    assert len(server.auth._used) == 50
    assert {type(server.check(value)) for value in values} == {Challenge}


def test_expired_nonces_are_forgotten() -> None:
    server = Server(lifetime=10.0)
    for _ in range(100):
        server.clock.now += 1
        assert server.check(server.credentials(server.challenge())) == Granted("101")
    assert len(server.auth._used) <= 12


def test_challenges_cost_no_memory() -> None:
    server = Server()
    nonces = {server.challenge()[0] for _ in range(1000)}
    assert len(nonces) == 1000
    assert server.auth._used == {}


def test_an_invite_cannot_be_sent_elsewhere_with_the_same_credentials() -> None:
    server = Server()
    def invite(signed: str, asked: str) -> object:
        value = respond(server.challenge(), "INVITE", signed, "101", "one", token=lambda: "c", nc_counter={})
        assert value is not None
        return server.check(value, uri=asked, method="INVITE")
    assert invite("sip:102@pbx.example.com", "sip:102@10.0.0.1:5060;user=phone") == Granted("101")
    assert invite("sip:102@pbx.example.com", "sip:900123456@pbx.example.com") == Refused("101")
    assert invite("sip:102@pbx.example.com", "sip:pbx.example.com") == Refused("101")
    assert invite("tel:+15550100", "tel:+15550199") == Refused("101")
    assert invite("tel:+15550100;x=y", "tel:+15550100") == Granted("101")
    assert invite("sip:1;x=y@h", "sip:2;x=y@h") == Refused("101")


def test_another_method_is_another_digest() -> None:
    server = Server()
    assert server.check(server.credentials(server.challenge()), method="INVITE") == Refused("101")


# ---- odd and hostile headers

GOOD = 'username="101", realm="pbx.example.com", nonce="n", uri="sip:pbx.example.com", response="r"'


@pytest.mark.parametrize("value", [
    "", "Digest", "digest ", "Basic MTAxOm9uZQ==", "NoOneKnowsThisScheme opaque-data=here", f"Digest{GOOD}",
    "Digest username", "Digest =", "Digest ,,,,", 'Digest username="101', "Digest username=101 realm=x",
    f'Digest {GOOD}, username="102"', "Digest " + GOOD.replace("pbx.example.com", "other", 1),
    "Digest " + GOOD.replace('username="101", ', ""), "Digest " + GOOD.replace(', response="r"', ""),
    "Digest " + GOOD.replace('nonce="n", ', ""), "Digest " + GOOD.replace('uri="sip:pbx.example.com", ', ""),
    f"Digest {GOOD}, algorithm=SHA-1", f"Digest {GOOD}, algorithm=MD5-sess", f"Digest {GOOD}, qop=auth-int, nc=1",
    f"Digest {GOOD}, qop=auth", f"Digest {GOOD}, qop=auth, nc=00000001",
    f"Digest {GOOD}, qop=auth, nc=00000000, cnonce=c", f"Digest {GOOD}, qop=auth, nc=-0000001, cnonce=c",
    f"Digest {GOOD}, qop=auth, nc=0x000001, cnonce", f"Digest {GOOD}, qop=auth, nc={'1' * 9}, cnonce=c",
    f"Digest {GOOD}, qop=auth, nc=\u0661, cnonce=c", f"Digest {GOOD}, qop=auth, nc=g, cnonce=c",
    f"Digest {GOOD}, x=\"{'y' * 65000}\"", "Digest " + "a=b," * 15000, "Digest " + '"' * 60000, "\0" * 60000,
    "Digest username*=UTF-8''101, " + GOOD.replace('username="101", ', ""), f"Digest {GOOD} trailing",
])
def test_bad_credentials_are_as_none(value: str) -> None:
    assert Server().check(value) == Challenge(False)


@pytest.mark.parametrize("response", ["", "r", "\xe9" * 32, "\udcff", "\u0660" * 32, "0" * 3000])
def test_bad_responses_to_a_good_nonce_are_refused(response: str) -> None:
    server = Server()
    value = server.credentials(server.challenge())
    right = (digest._params(value) or {})["response"]
    assert server.check(value.replace(right, response)) == Refused("101")
    assert server.check(value) == Granted("101")


def test_credentials_for_other_realms_may_stand_beside_ours_but_two_for_ours_may_not() -> None:
    server = Server()
    value = server.credentials(server.challenge())
    assert server.check("Basic x", 'Digest realm="elsewhere", username="101"', value) == Granted("101")
    value = server.credentials(server.challenge())
    assert server.check(value, value) == Challenge(False)


def test_spelling_that_phones_get_wrong_is_forgiven() -> None:
    server = Server()
    value = server.credentials(server.challenge()[1:])
    spelled = value.replace("Digest ", "DIGEST   ").replace("qop=auth", 'qop="auth"').replace("algorithm=MD5",
        'algorithm="md5"').replace("response=", "Response = ").replace(", ", ",")
    assert server.check(spelled) == Granted("101")
    value = server.credentials(server.challenge()[1:])
    right = (digest._params(value) or {})["response"]
    assert server.check(value.replace(right, right.upper())) == Granted("101")
    value = server.credentials(server.challenge()[1:])
    assert server.check(value.replace(", algorithm=MD5", "").replace(", uri", " ,\t uri")) == Granted("101")


def test_seeded_noise_is_never_an_exception() -> None:
    noise = random.Random(7)
    server = Server()
    value = server.credentials(server.challenge())
    outcomes = set()
    for _ in range(3000):
        letters = list(value)
        for _ in range(noise.randrange(1, 6)):
            place = noise.randrange(len(letters))
            letters[place] = noise.choice(['"', ",", "=", "\\", " ", "\t", "\xff", "\udc80", "a", ";", ""])
        outcomes.add(type(server.check("".join(letters))))
    assert outcomes <= {Challenge, Refused, Granted}
    assert {Challenge, Refused} <= outcomes


def test_a_secret_does_not_print_itself() -> None:
    assert USERS["101"].md5 not in repr(USERS["101"])
    assert USERS["101"].sha256 not in repr(USERS["101"])
