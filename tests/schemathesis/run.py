"""Holds a running server against its own OpenAPI description: schemathesis makes requests of all kinds from the
description, and every answer must be one that is described. Both generations of OpenVidu are tried, each against a data
plane and a control plane of its own on free ports, in which a session with a publishing participant is kept alive.

    make schema                      all of it
    run.py 2.32 --phases fuzzing     one generation, with options for schemathesis
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from member import Member

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BINARIES = Path(os.environ.get("MILLRACE_BIN", ROOT / "target/release"))
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
GENERATIONS = ("2.32", "2.20")
# What cannot be expected: 2.32 answers 403 where others say 405, and 2.20 refuses some newer values that are described.
EXCLUDED = {"2.32": "unsupported_method", "2.20": "positive_data_acceptance,negative_data_rejection"}
SECRET = "schema"
AUTHORIZATION = "Basic " + base64.b64encode(f"OPENVIDUAPP:{SECRET}".encode()).decode()
# Seconds until a process must serve.
PATIENCE = 20


class Server:
    """Both processes, stopped at the end of a `with`."""

    def __init__(self, generation):
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-schema-"))
        self.port = free_port(socket.SOCK_STREAM)
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes = []
        self.environment = {
            "MILLRACE_CONTROL_SOCKET": str(self.folder / "dataplane.sock"),
            "MILLRACE_MEDIA_PORT": str(free_port(socket.SOCK_DGRAM)),
            "MILLRACE_ANNOUNCE": "127.0.0.1",
            "MILLRACE_WORKERS": "1",
            "MILLRACE_DATA_DIR": str(self.folder),
            "MILLRACE_LOG": "warn",
            "MILLRACE_BIND_ADDRESS": "127.0.0.1",
            "DOMAIN_OR_PUBLIC_IP": "localhost",
            "DOTENV_PATH": str(self.folder),
            "OPENVIDU_SECRET": SECRET,
            "OPENVIDU_COMPAT": generation,
            # The participant that is kept alive has the same id each time.
            "OPENVIDU_DEV": "true",
            "OPENVIDU_CDR": "true",
            "OPENVIDU_CDR_PATH": str(self.folder / "cdr"),
            "FORCE_PLAIN_HTTP": "true",
            "HTTPS_PORT": str(self.port),
        }

    def __enter__(self):
        try:
            control_socket = Path(self.environment["MILLRACE_CONTROL_SOCKET"])
            self.start("millrace-dataplane", control_socket.exists)
            self.start("millrace-controlplane", lambda: self.call("GET", "/healthz")[0] == 200)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name, is_ready):
        if not (BINARIES / name).exists():
            raise SystemExit(f"{BINARIES / name} is missing: run `make build` first.")
        log = (self.folder / f"{name}.log").open("wb")
        command = [str(BINARIES / name)]
        process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        deadline = time.monotonic() + PATIENCE
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not serve:\n{self.log(name)}")
            time.sleep(0.02)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def call(self, method, path, body=None):
        """The status (0: nobody answered) and the object that came with it."""
        headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return 0, None

    def is_well(self):
        return all(process.poll() is None for process in self.processes) and self.call("GET", "/healthz")[0] == 200


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(generation, options):
    """Whether every answer of this generation was one that is described."""
    print(f"\n== REST as OpenVidu {generation} answers it, against its description\n", flush=True)
    began = time.monotonic()
    with Server(generation) as server, Member(server):
        own = {"MILLRACE_SECRET": SECRET, "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "PYTHONPATH": str(HERE)}
        command = [SCHEMATHESIS, "--config-file", HERE / "schemathesis.toml", "run"]
        command += ["--exclude-checks", EXCLUDED[generation], *options, f"{server.url}/openvidu/api/openapi.json"]
        environment = os.environ | own
        # What the tool leaves in its working directory goes with the server's folder.
        failed = subprocess.run(command, env=environment, cwd=server.folder, check=False).returncode != 0
        if not server.is_well():
            failed = True
            print(f"The server did not survive it:\n{server.log('millrace-controlplane')}", flush=True)
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return not failed


def main():
    chosen = [argument for argument in sys.argv[1:] if argument in GENERATIONS]
    options = [argument for argument in sys.argv[1:] if argument not in GENERATIONS]
    results = [run(generation, options) for generation in chosen or GENERATIONS]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
