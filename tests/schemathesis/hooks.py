"""What schemathesis is told besides the description. Wrong passwords, which it sends as well, count against an address;
each request comes from another one, as a proxy would tell, so that the right ones go on."""

import itertools

import schemathesis

numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    number = next(numbers)
    case.headers["X-Forwarded-For"] = f"198.{18 + number // 65536 % 2}.{number // 256 % 256}.{number % 256}"
