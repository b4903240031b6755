"""The settings: one frozen tree, read from hookline.toml. Every key is named in the README."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Milliseconds = Annotated[int, Field(ge=1, le=10_000)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Office(Section):
    name: str = "Hookline"
    country: str = ""          # ISO 3166 alpha-2; needed to read national numbers
    timezone: str = "UTC"
    language: Literal["en", "ru"] = "en"


class Sip(Section):
    listen: tuple[str, ...] = ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060")
    domain: str = ""           # realm of the digest and host of our URIs; empty: "hookline", and our address
    digest: Literal["md5", "sha-256", "both"] = "md5"   # baresip 1.0 gives up when it sees SHA-256, SIPp when first
    drain_seconds: Seconds = 30.0
    max_calls: Count = 5000
    max_calls_per_second: Count = 2000
    trace_messages: CountOrZero = 5000   # what `hookline trace` and the panel can look back on
    hep: str = ""              # "udp:homer.example.net:9060": every message is told there (HEP3)
    hep_id: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 2001   # which of its agents we are
    hep_password: SecretStr = SecretStr("")


class Media(Section):
    ports: str = "20000-29999"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    backend: Literal["builtin", "rtpengine"] = "builtin"
    rtpengine: tuple[str, ...] = ()
    timeout_seconds: PositiveSeconds = 60.0   # a call with no RTP from either side for so long is ended


class Web(Section):
    listen: str = "127.0.0.1:8080"
    public_url: str = ""


class Database(Section):
    url: str = "sqlite:///hookline-data/hookline.db"
    durability: Literal["process", "power"] = "process"


class CrmHook(Section):
    kind: Literal["http", "python"]
    name: str = ""
    url: str = ""
    secret: SecretStr = SecretStr("")
    target: str = ""           # "module:Class" of a python hook
    deadline_ms: Milliseconds | None = None


class Crm(Section):
    deadline_ms: Milliseconds = 300
    hook: tuple[CrmHook, ...] = ()


class Extension(Section):
    number: str
    name: str = ""
    password: SecretStr
    profile: str = "generic"
    crm_control: Literal["third-party", "first-party"] = "third-party"


class Trunk(Section):
    name: str
    profile: str = "generic"
    server: str                # "sip.example.net", "192.0.2.1:5060", "tcp:192.0.2.1:5060"
    username: str = ""
    password: SecretStr = SecretStr("")
    accept_from: tuple[str, ...] = ()
    caller_id: str = ""
    max_calls: CountOrZero = 0   # 0: no limit


class Inbound(Section):
    number: str                # "+15550100", or "*" for every other number
    to: str


class Outbound(Section):
    prefix: str = ""
    strip: CountOrZero = 0
    prepend: str = ""
    trunks: tuple[str, ...]


class Settings(Section):
    office: Office = Office()
    sip: Sip = Sip()
    media: Media = Media()
    web: Web = Web()
    database: Database = Database()
    crm: Crm = Crm()
    extension: tuple[Extension, ...] = ()
    trunk: tuple[Trunk, ...] = ()
    inbound: tuple[Inbound, ...] = ()
    outbound: tuple[Outbound, ...] = ()
