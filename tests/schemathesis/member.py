"""A participant that publishes in the session LIVE, so that requests about connections, streams and signals find
something. Whoever ends it, by whatever request, it comes back."""

import base64
import json
import os
import socket
import struct
import threading
from pathlib import Path

SESSION = "LIVE"
# Holds the name of its stream, in the server's folder.
STREAM_FILE = Path("stream")
FINGERPRINT = ":".join(f"{byte:02X}" for byte in range(32))
TRANSPORT = (
    "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:live\r\na=ice-pwd:0123456789012345678901\r\n"
    f"a=ice-options:trickle\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\n"
)
OFFER = (
    "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
    "a=msid-semantic: WMS s\r\n"
    f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{TRANSPORT}a=mid:0\r\na=sendonly\r\na=msid:s a\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=ssrc:1000001 cname:c\r\n"
    f"m=video 9 UDP/TLS/RTP/SAVPF 96\r\n{TRANSPORT}a=mid:1\r\na=sendonly\r\na=msid:s v\r\na=rtcp-mux\r\n"
    "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=ssrc:2000001 cname:c\r\n"
)
PUBLISH = {
    "sdpOffer": OFFER, "doLoopback": False, "hasAudio": True, "hasVideo": True, "audioActive": True,
    "videoActive": True, "typeOfVideo": "CAMERA", "frameRate": 30, "videoDimensions": '{"width":640,"height":480}',
}


class Member:
    """In the session from the start of a `with` to its end."""

    def __init__(self, server):
        self.server = server
        self.is_in = threading.Event()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.stay, daemon=True)

    def __enter__(self):
        self.thread.start()
        if not self.is_in.wait(20):
            raise SystemExit("The participant did not get into its session.")
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join(5)

    def stay(self):
        while not self.is_over.wait(0.05):
            try:
                self.sit()
            except (OSError, ValueError, KeyError, TypeError):
                # Somebody was faster with ending the session or the connection.
                continue

    def sit(self):
        self.server.call("POST", "/openvidu/api/sessions", {"customSessionId": SESSION})
        data = json.dumps({"openviduCustomConnectionId": "LIVE"})
        connection = {"role": "MODERATOR", "data": data}
        _, granted = self.server.call("POST", f"/openvidu/api/sessions/{SESSION}/connection", connection)
        with WebSocket(self.server.port) as channel:
            channel.call("joinRoom", {
                "token": granted["token"], "session": SESSION, "platform": "Chrome 126", "sdkVersion": "2.32.1",
                "metadata": '{"clientData":"Live"}', "secret": "", "recorder": False,
            })
            published = channel.call("publishVideo", PUBLISH)
            (self.server.folder / STREAM_FILE).write_text(published["id"])
            self.is_in.set()
            while not self.is_over.is_set():
                frame = channel.receive()
                if frame and json.loads(frame).get("method") == "participantEvicted":
                    return


class WebSocket:
    """As much of RFC 6455 as it takes: a request with its answer, then frames of text."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=1)
        self.number = 0
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /openvidu HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.read()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise OSError("no WebSocket")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, method, params):
        self.number += 1
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": self.number}))
        while True:
            frame = self.receive()
            answer = json.loads(frame) if frame else {}
            if answer.get("id") == self.number:
                return answer["result"]

    def send(self, text):
        payload, mask = text.encode(), os.urandom(4)
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + struct.pack(">H", length)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(b"\x81" + size + mask + masked)

    def receive(self):
        """The text of a frame; empty for other frames, and when none came for a second."""
        try:
            first, size = self.take(2)
            length = size & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self.take(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.take(8))
            payload = self.take(length)
        except TimeoutError:
            self.number += 1
            self.send(json.dumps({"jsonrpc": "2.0", "method": "ping", "params": {}, "id": self.number}))
            return ""
        if first & 0x0F == 8:
            raise OSError("closed")
        return payload.decode() if first & 0x0F == 1 else ""

    def take(self, count):
        while len(self.buffer) < count:
            self.buffer += self.read()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read(self):
        received = self.socket.recv(65536)
        if not received:
            raise OSError("closed")
        return received
