"""A server on loopback that stands for the hosts of downloads."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd

from oacore.data.download import OAIZIB_CM

SHA = "0123456789abcdef0123456789abcdef01234567"


CDN = "/cdn/"


class Server(ThreadingHTTPServer):
    """Serves `files`; imitates the Hub's listing, redirect and byte ranges."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files = {}
        self.listing = None
        self.released = None  # archives with bytes and md5, as oacore.data.sources gives them
        self.requests = []
        self.tokens = []
        self.stall_after = {}  # file name -> bytes after which the connection only hangs
        self.break_after = {}  # file name -> bytes after which the connection is cut, once
        self.stalled = threading.Event()

    def list_hub(self):
        entries = []
        for name, data in self.files.items():
            entry = {"rfilename": name, "size": len(data)}
            entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if name.endswith(".zip"):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self.listing = {"id": OAIZIB_CM, "sha": SHA, "siblings": entries}
        archives = {name: data for name, data in self.files.items() if name.endswith(".zip")}
        self.released = pd.DataFrame(
            {
                "bytes": {name: len(data) for name, data in archives.items()},
                "md5": {name: hashlib.md5(data).hexdigest() for name, data in archives.items()},
            }
        )


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server, path = self.server, self.path.split("?")[0]
        server.tokens.append(self.headers.get("Authorization"))
        server.requests.append((path, self.headers.get("Range")))
        if path in (f"/api/datasets/{OAIZIB_CM}",
                    f"/api/datasets/{OAIZIB_CM}/revision/{SHA}"):  # fmt: skip
            return self.send(200, json.dumps(server.listing).encode())
        resolve = f"/datasets/{OAIZIB_CM}/resolve/{SHA}/"
        if path.startswith(resolve):
            return self.send(302, b"", Location=CDN + path.removeprefix(resolve))
        name = path.removeprefix(CDN) if path.startswith(CDN) else path.lstrip("/")
        if name not in server.files:
            return self.send(404, b"not found")
        data, start = server.files[name], 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(match[1])
        whole = data[start:]
        stop = server.stall_after.get(name) or server.break_after.pop(name, None)
        self.send(206 if start else 200, whole if stop is None else whole[:stop], len(whole))
        if name in server.stall_after:
            self.wfile.flush()
            server.stalled.set()
            self.rfile.read()  # until the client goes away

    def send(self, status, body, length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
