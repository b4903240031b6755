"""The settings: one frozen tree, read from hookline.toml. Every key is named in the README."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Milliseconds = Annotated[int, Field(ge=1, le=10_000)]


# ABCMeta has a method of this name, which no settings section is asked for.
warnings.filterwarnings("ignore", 'Field name "register" in "Trunk" shadows', UserWarning)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Office(Section):
    name: str = "Hookline"
    country: str = ""          # ISO 3166 alpha-2; needed to read national numbers
    emergency_numbers: tuple[str, ...] = ()   # dialled for help; empty: those of the country, without one 112 and 911
    mailbox_number: str = "*97"   # what is dialled to hear one's voice messages
    timezone: str = "UTC"
    language: Literal["en", "ru"] = "en"


class Sip(Section):
    listen: tuple[str, ...] = ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060")
    domain: str = ""           # realm of the digest and host of our URIs; empty: "hookline", and our address
    external_address: str = ""   # ours as it is seen from outside, where a NAT router stands before us
    local_networks: tuple[str, ...] = ()   # peers in these are told our own address; empty: all private networks
    nameservers: tuple[str, ...] = ()   # DNS servers for the names of carriers; empty: those of the machine
    digest: Literal["md5", "sha-256", "both"] = "md5"   # baresip 1.0 gives up when it sees SHA-256, SIPp when first
    tls_certificate: str = ""  # PEM file: the certificate, then those that lead to its CA
    tls_key: str = ""          # PEM file; empty: the key is in the file of the certificate
    tls_ca: str = ""           # PEM file of the CAs that others are checked by; empty: the system's
    websocket_path: str = "/"
    websocket_origins: tuple[str, ...] = ()   # pages that may open a WebSocket; "*": every page
    keep_alive_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 25.0   # RFC 5626 4.4: 24 to 29
    large_requests_by_tcp: bool = True        # RFC 3261 section 18.1.1
    session_seconds: CountOrZero = 1800       # interval of session timers (RFC 4028) to ask for; 0: ask for none
    session_min_seconds: Annotated[int, Field(ge=90, le=86400)] = 90   # shorter is answered 422 (RFC 4028 section 5)
    follow_redirects: bool = True             # 3xx of phones and carriers; false: the caller gets them
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
    kernel_relay: Literal["auto", "off"] = "auto"
    timeout_seconds: PositiveSeconds = 60.0   # a call with no RTP from either side for so long is ended
    prompts: str = "hookline-data/prompts"    # directory of the office's own WAV files
    recordings: str = "hookline-data/recordings"


class Mail(Section):
    """Where voice messages are mailed from."""

    server: str = ""           # "mail.example.net:587"; empty: nothing is mailed
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: SecretStr = SecretStr("")
    sender: str = ""


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
    reload: bool = False       # its file is read again when it changes: for whoever is writing it
    deadline_ms: Milliseconds | None = None


class CrmConnector(Section):
    """One CRM. Which of the keys a kind takes is in `settings_file.connectors`."""

    kind: str
    name: str = ""             # in records of contacts, the outbox and `reconcile`; empty: the kind
    url: str = ""
    api_key: SecretStr = SecretStr("")
    tenant: str = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    redirect_uri: str = ""     # as its OAuth application has it
    database: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    template: str = ""         # a file that says how to ask
    parameters: dict[str, SecretStr] = {}   # what the template leaves to the office
    users: tuple[str, ...] = ()   # "101=its id in the CRM"
    external_id_field: str = ""   # field of the CRM that keeps the call's id; empty: the connector's own choice
    deadline_ms: Milliseconds | None = None


class CrmRule(Section):
    """One row of the table of rules: what is left out fits every call. `then` is a decision, as a hook answers it."""

    name: str = ""
    caller: tuple[str, ...] = ()   # "+12025550123", "+1900*", "withheld"
    called: tuple[str, ...] = ()
    direction: Literal["", "inbound", "outbound", "internal"] = ""
    trunk: str = ""
    known: bool | None = None
    tag: str = ""
    vip: bool | None = None
    owner_present: bool | None = None   # the contact has an owner whose phone is registered and who is ready
    days: str = ""             # "mon-fri,sun"
    hours: str = ""            # "09:00-18:00", of the office's time zone
    then: dict[str, Any]


class Crm(Section):
    deadline_ms: Milliseconds = 300
    wrap_up_seconds: Seconds = 0.0   # after a call, unless its summary is stored before: no queue rings this agent
    agent_lamp: Literal["never", "wrap-up", "not-ready"] = "wrap-up"   # what lights an agent's busy lamp besides calls
    owner_first: Literal["always", "never"] = "always"   # whether a known customer rings at his owner's desk first
    on_unknown: Literal["create", "ask", "ignore"] = "create"   # what a call with a number that nobody has does
    workstation_url: str = ""   # where the panel's page of first-party extensions posts their calls
    rule: tuple[CrmRule, ...] = ()
    hook: tuple[CrmHook, ...] = ()
    connector: tuple[CrmConnector, ...] = ()


class Extension(Section):
    number: str
    name: str = ""
    password: SecretStr
    profile: str = ""          # make of phone; empty: told by the User-Agent of its REGISTER
    crm_control: Literal["third-party", "first-party"] = "third-party"
    caller_id: str = ""        # its own number on calls out; empty: that of the trunk
    voicemail: bool = False    # has a mailbox, `voicemail:NUMBER`
    email: str = ""            # where its voice messages are mailed to


class Trunk(Section):
    name: str
    profile: str = "generic"
    server: str                # "sip.example.net", "192.0.2.1:5060", "tcp:192.0.2.1:5060"
    backup_servers: tuple[str, ...] = ()   # as `server`, tried in their order when it fails
    outbound_proxy: str = ""   # as `server`: where everything goes, while `server` is what URIs name
    register: bool = False
    username: str = ""
    auth_username: str = ""    # of the digest, where it is another one
    password: SecretStr = SecretStr("")
    numbers: tuple[str, ...] = ()   # ours: tells trunks of one carrier apart
    trusted: bool = False      # P-Asserted-Identity of this carrier is believed
    accept_from: tuple[str, ...] = ()
    tls_ca: str = ""           # of this carrier; empty: that of [sip]
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


Strategy = Literal["all", "in_order", "longest_idle"]


class RingGroup(Section):
    name: str                  # `group:NAME` where a destination is asked for
    number: str = ""           # what is dialled for it inside
    members: tuple[str, ...]
    strategy: Strategy = "all"
    ring_seconds: PositiveSeconds = 20.0
    otherwise: str = ""        # destination when nobody answers; empty: the caller is told so


class Queue(Section):
    name: str                  # `queue:NAME`
    number: str = ""
    agents: tuple[str, ...]
    strategy: Strategy = "longest_idle"
    music: str = "music"       # a prompt
    ring_seconds: PositiveSeconds = 20.0
    announce_seconds: Seconds = 30.0   # how often callers hear their place; 0: never
    max_wait_seconds: PositiveSeconds = 900.0
    max_callers: Count = 100
    otherwise: str = ""        # destination of whom has waited too long


class Ivr(Section):
    name: str                  # `ivr:NAME`
    number: str = ""
    say: tuple[str, ...]       # prompts, and sentences with {variables} of the decision
    keys: tuple[str, ...] = ()   # "1=101", "2=queue:sales", "9=again", "0=hangup"
    key_seconds: PositiveSeconds = 6.0
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    otherwise: str = ""


class Settings(Section):
    office: Office = Office()
    sip: Sip = Sip()
    media: Media = Media()
    mail: Mail = Mail()
    web: Web = Web()
    database: Database = Database()
    crm: Crm = Crm()
    extension: tuple[Extension, ...] = ()
    trunk: tuple[Trunk, ...] = ()
    inbound: tuple[Inbound, ...] = ()
    outbound: tuple[Outbound, ...] = ()
    ring_group: tuple[RingGroup, ...] = ()
    queue: tuple[Queue, ...] = ()
    ivr: tuple[Ivr, ...] = ()
