"""PJSIP as a phone in a process of its own: commands come as JSON lines on standard input, events go out likewise.

    python -m tests.interop.pjsua_child '{"number": "101", "server": "127.0.0.1:5060", ...}'

PJSUA2's objects must not outlive their endpoint and must be kept while PJSIP uses them; its destructors assert. So the
process ends by `os._exit`, and everything stays referenced until then.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any

import pjsua2 as pj

CLOCK = 8000
POLL_MS = 10
KINDS = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


class Phone(pj.Account):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options
        self.calls: list[Call] = []
        self.buddies: dict[str, Colleague] = {}
        self.tone = pj.ToneGenerator()
        self.recorder = pj.AudioMediaRecorder()

    def open(self) -> None:
        options = self.options
        self.tone.createToneGenerator(CLOCK, 1)
        tones = pj.ToneDescVector()
        tone = pj.ToneDesc()
        tone.freq1, tone.freq2, tone.on_msec, tone.off_msec = options["hz"], 0, 1000, 0
        tones.append(tone)
        self.tone.play(tones, True)
        self.recorder.createRecorder(options["record"])
        config = pj.AccountConfig()
        config.idUri = f"sip:{options['number']}@{options['server']}"
        suffix = "" if options["transport"] == "udp" else f";transport={options['transport']}"
        config.regConfig.registrarUri = f"sip:{options['server']}{suffix}"
        if suffix:
            config.sipConfig.proxies.append(f"sip:{options['server']}{suffix};lr")
        config.sipConfig.authCreds.append(
            pj.AuthCredInfo("digest", "*", options["number"], pj.PJSIP_CRED_DATA_PLAIN_PASSWD, options["password"])
        )
        config.presConfig.publishEnabled = bool(options.get("publishes"))
        config.mwiConfig.enabled = bool(options.get("publishes"))
        if options.get("insists"):
            config.callConfig.prackUse = pj.PJSUA_100REL_MANDATORY
            config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_REQUIRED
            config.callConfig.timerMinSESec = config.callConfig.timerSessExpiresSec = 90
        self.create(config)

    def onRegState(self, parameter: pj.OnRegStateParam) -> None:
        say("registration", status=parameter.code, seconds=parameter.expiration)

    def onInstantMessage(self, parameter: pj.OnInstantMessageParam) -> None:
        say("text", sender=parameter.fromUri, words=parameter.msgBody)

    def onInstantMessageStatus(self, parameter: pj.OnInstantMessageStatusParam) -> None:
        say("sent", status=parameter.code)

    def onMwiInfo(self, parameter: pj.OnMwiInfoParam) -> None:
        say("messages", state=parameter.state, body=parameter.rdata.wholeMsg.partition("\r\n\r\n")[2])

    def onIncomingCall(self, parameter: pj.OnIncomingCallParam) -> None:
        call = Call(self, parameter.callId)
        self.calls.append(call)
        say("incoming", caller=call.getInfo().remoteUri)
        answer = pj.CallOpParam()
        answer.statusCode = 183 if self.options.get("rings") else 200
        call.answer(answer)

    def do(self, command: dict[str, str]) -> bool:
        """False when it is time to go."""
        what, parameter = command["do"], pj.CallOpParam(True)
        if what == "call":
            call = Call(self)
            self.calls.append(call)
            call.makeCall(f"sip:{command['to']}@{self.options['server']}", parameter)
        elif what == "answer":
            parameter.statusCode = 200
            self.calls[-1].answer(parameter)
        elif what == "hold":
            self.calls[-1].setHold(pj.CallOpParam())
        elif what == "resume":
            parameter.opt.flag = pj.PJSUA_CALL_UNHOLD
            self.calls[-1].reinvite(parameter)
        elif what == "transfer":
            self.calls[-1].xfer(f"sip:{command['to']}@{self.options['server']}", parameter)
        elif what == "join":    # the call before the last one goes to whom the last one is with
            self.calls[-2].xferReplaces(self.calls[-1], pj.CallOpParam())
        elif what == "press":
            self.calls[-1].dialDtmf(command["digits"])
        elif what == "hang up":
            self.calls[-1].hangup(pj.CallOpParam())
        elif what == "watch":
            buddy = pj.BuddyConfig()
            buddy.uri, buddy.subscribe = f"sip:{command['to']}@{self.options['server']}", True
            self.buddies[command["to"]] = colleague = Colleague(command["to"])
            colleague.create(self, buddy)
        elif what == "say":
            message = pj.SendInstantMessageParam()
            message.content = command["words"]
            self.buddies[command["to"]].sendInstantMessage(message)
        elif what == "publish":
            status = pj.PresenceStatus()
            status.status, status.activity = pj.PJSUA_BUDDY_STATUS_ONLINE, pj.PJRPID_ACTIVITY_AWAY
            status.note = command["note"]
            self.setOnlineStatus(status)
        elif what == "unregister":
            self.setRegistration(False)
        return what != "quit"


class Colleague(pj.Buddy):
    def __init__(self, number: str) -> None:
        super().__init__()
        self.number = number

    def onBuddyState(self) -> None:
        info = self.getInfo()
        status = info.presStatus
        say(
            "colleague", number=self.number, online=status.status == pj.PJSUA_BUDDY_STATUS_ONLINE, note=status.note,
            busy=status.activity == pj.PJRPID_ACTIVITY_BUSY, away=status.activity == pj.PJRPID_ACTIVITY_AWAY,
            subscription=info.subStateName,
        )  # fmt: skip


class Call(pj.Call):
    def __init__(self, phone: Phone, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(phone, call_id)
        self.phone = phone
        self.media: list[pj.AudioMedia] = []

    def onCallState(self, parameter: pj.OnCallStateParam) -> None:
        info = self.getInfo()
        say("call", state=info.stateText, status=info.lastStatusCode, reason=info.lastReason)

    def onCallTsxState(self, parameter: pj.OnCallTsxStateParam) -> None:
        state = parameter.e.body.tsxState
        if state.type == pj.PJSIP_EVENT_RX_MSG and state.tsx.method == "UPDATE" and state.tsx.role == pj.PJSIP_ROLE_UAS:
            say("update", message=state.src.rdata.wholeMsg)
        if state.tsx.state == pj.PJSIP_TSX_STATE_COMPLETED:
            say("transaction", method=state.tsx.method, status=state.tsx.statusCode)

    def onCallMediaState(self, parameter: pj.OnCallMediaStateParam) -> None:
        info = self.getInfo()   # must live as long as what is read of it
        for index in range(len(info.media)):
            if info.media[index].status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                media = self.getAudioMedia(index)
                self.media.append(media)
                self.phone.tone.startTransmit(media)
                media.startTransmit(self.phone.recorder)
            say("media", status=info.media[index].status)

    def onCallTransferStatus(self, parameter: pj.OnCallTransferStatusParam) -> None:
        say("transfer", status=parameter.statusCode, last=parameter.finalNotify)

    def onDtmfDigit(self, parameter: pj.OnDtmfDigitParam) -> None:
        say("digit", digit=parameter.digit)


def main() -> None:
    options = json.loads(sys.argv[1])
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.medConfig.clockRate = config.medConfig.sndClockRate = CLOCK
    config.medConfig.noVad = True
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    kind = KINDS[options["transport"]]
    if options["ca"]:
        transport.tlsConfig.CaListFile = options["ca"]
        transport.tlsConfig.verifyServer = True
    endpoint.transportCreate(kind, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    phone = Phone(options)
    phone.open()
    while True:
        endpoint.libHandleEvents(POLL_MS)
        if select.select([sys.stdin], [], [], 0)[0]:
            line = sys.stdin.readline()
            if not line or not phone.do(json.loads(line)):
                break
    os._exit(0)


if __name__ == "__main__":
    main()
