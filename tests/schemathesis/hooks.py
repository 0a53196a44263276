"""What schemathesis is told besides the description.

Wrong passwords, which it sends as well, count against an address: each request comes from another one, as a proxy would
tell, so that the right ones go on. Streams are named by the server, so that now and then the one that is published takes
the place of a name that was made up. The formats of the description are OpenVidu's own, and are drawn here.
"""

import itertools

import member
import schemathesis
from hypothesis import strategies

HOSTS = strategies.sampled_from(["ice.example.com", "192.0.2.7", "[2001:db8::7]", "host"])
PORTS = strategies.one_of(strategies.just(""), strategies.integers(1, 65535).map(lambda port: f":{port}"))

numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    number = next(numbers)
    if "stream" in case.path_parameters and number % 3 == 0:
        case.path_parameters |= {"session": member.SESSION, "stream": member.STREAM_FILE.read_text()}
    case.headers["X-Forwarded-For"] = f"198.{18 + number // 65536 % 2}.{number // 256 % 256}.{number % 256}"


def urls(*schemes, ends=("",)):
    parts = strategies.tuples(strategies.sampled_from(schemes), HOSTS, PORTS, strategies.sampled_from(ends))
    return parts.map("".join)


schemathesis.openapi.format("stun-url", urls("stun:", "stuns:"))
schemathesis.openapi.format("turn-url", urls("turn:", "turns:", ends=("", "?transport=tcp", "?transport=udp")))
schemathesis.openapi.format("camera-url", urls("rtsp://", "file://", ends=("/stream",)))
