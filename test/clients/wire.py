# A session that speaks the protocol itself, to misbehave as no driver lets one: to stop in the middle of a message
#   flow, and not to read.
# Called by: storm_holders.py, with PGHOST (a directory) and PGPORT of a throw-away cluster.
# Must never: read more than it is asked for. What it does not read stays in the server's way.

import asyncio
import os
import socket
import struct

ERROR_FIELDS = {"S": "severity", "C": "sqlstate", "M": "message"}


class Gone(Exception):
    """The server has ended the connection; `error` is the last one that it sent, or None."""

    def __init__(self, error):
        super().__init__(str(error))
        self.error = error


class Answer:
    """What came until the server was ready for the next query."""

    def __init__(self):
        self.tags, self.rows, self.notifications, self.notices, self.error = [], 0, [], [], None

    @property
    def sqlstate(self):
        return self.error["sqlstate"] if self.error else None


def message(kind, *parts):
    body = b"".join(parts)
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


def fields_of(body):
    found = {}
    for field in body.split(b"\0"):
        if field:
            found[ERROR_FIELDS.get(chr(field[0]), chr(field[0]))] = field[1:].decode(errors="replace")
    return found


class Wire:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setblocking(False)
        self.buffer = b""
        self.pid = None
        self.error = None

    @classmethod
    async def connect(cls, user, database, application_name):
        self = cls()
        await self.loop.sock_connect(self.socket, f"{os.environ['PGHOST']}/.s.PGSQL.{os.environ['PGPORT']}")
        parameters = {"user": user, "database": database, "application_name": application_name}
        body = struct.pack("!i", 196608) + b"".join(text(t) for pair in parameters.items() for t in pair) + b"\0"
        try:
            await self.send(struct.pack("!i", len(body) + 4) + body)
            await self.read_answer()
        except Gone:
            self.close()
            raise
        return self

    async def send(self, data):
        try:
            await self.loop.sock_sendall(self.socket, data)
        except OSError:
            # What the server has said before it left is still there to be read.
            await self.read_answer()
            raise Gone(self.error) from None

    async def query(self, statement):
        await self.send(message("Q", text(statement)))

    async def execute(self, statement):
        """In the extended protocol, and without a Sync."""
        await self.send(message("P", b"\0", text(statement), b"\0\0") + message("B", b"\0\0\0\0\0\0\0\0")
                        + message("E", b"\0\0\0\0\0") + message("H"))

    async def sync(self):
        await self.send(message("S"))

    async def ask(self, statement):
        await self.query(statement)
        return await self.read_answer()

    async def receive(self):
        try:
            data = await self.loop.sock_recv(self.socket, 65536)
        except OSError:
            data = b""
        if not data:
            raise Gone(self.error)
        self.buffer += data

    async def read_message(self):
        while len(self.buffer) < 5:
            await self.receive()
        length = struct.unpack_from("!i", self.buffer, 1)[0] + 1
        while len(self.buffer) < length:
            await self.receive()
        kind, body = chr(self.buffer[0]), self.buffer[5:length]
        self.buffer = self.buffer[length:]
        return kind, body

    async def read_answer(self, until=("Z",)):
        """Until ReadyForQuery, or another kind of message."""
        answer = Answer()
        while True:
            kind, body = await self.read_message()
            if kind == "E":
                answer.error = self.error = fields_of(body)
            elif kind == "N":
                answer.notices.append(fields_of(body))
            elif kind == "A":
                channel, payload = body[4:].split(b"\0")[:2]
                answer.notifications.append((struct.unpack_from("!i", body)[0], payload.decode()))
            elif kind == "D":
                answer.rows += 1
            elif kind == "C":
                answer.tags.append(body[:-1].decode())
            elif kind == "K":
                self.pid = struct.unpack_from("!i", body)[0]
            if kind in until or (kind == "E" and "Z" not in until):
                return answer

    def close(self):
        """Without a word: the server sees that its client has died."""
        self.socket.close()
