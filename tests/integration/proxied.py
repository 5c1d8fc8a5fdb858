"""Datagrams with PROXY headers, version 2, by the specification: written and read here, so that
lb4's own code is not what judges it. And an echo server that notes what each header said."""
import dataclasses
import ipaddress
import struct

import udp_drill

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UDP4, UDP6 = 0x12, 0x22
LENGTHS = {UDP4: 28, UDP6: 52}  # of a whole header without extensions


@dataclasses.dataclass(frozen=True)
class Said:
    """What a datagram's header says; addresses as (host, port), None in one that is LOCAL."""
    client: tuple
    asked: tuple
    payload: bytes


def address(host, port):
    return ipaddress.ip_address(host).packed, port


def wrap(payload, client=None, asked=("10.0.0.1", 53), extensions=b""):
    """The datagram of a balancer; without a client it speaks for itself."""
    if client is None:
        return SIGNATURE + struct.pack("!BBH", LOCAL, 0, len(extensions)) + extensions + payload
    (source, source_port), (target, target_port) = address(*client), address(*asked)
    body = source + target + struct.pack("!HH", source_port, target_port) + extensions
    family = UDP4 if len(source) == 4 else UDP6
    return SIGNATURE + struct.pack("!BBH", PROXY, family, len(body)) + body + payload


def unwrap(datagram):
    """Fails on anything that is not exactly a header, without extensions, and what follows it."""
    assert datagram[:12] == SIGNATURE, datagram[:60]
    command, family, length = struct.unpack("!BBH", datagram[12:16])
    body, payload = datagram[16:16 + length], datagram[16 + length:]
    assert len(body) == length
    if command == LOCAL:
        assert (family, length) == (0, 0)
        return Said(None, None, payload)
    assert command == PROXY and LENGTHS[family] == 16 + length, datagram[:60]
    n = 4 if family == UDP4 else 16
    source_port, target_port = struct.unpack("!HH", body[2 * n:])
    return Said((str(ipaddress.ip_address(body[:n])), source_port),
                (str(ipaddress.ip_address(body[n:2 * n])), target_port), payload)


class EchoServer(udp_drill.UdpServer):
    """Sends each payload back, and keeps what was said; what has no right header is in `wrong`. As
    a context, at the end of which nothing may be."""

    def __init__(self, host="127.0.0.1", port=0):
        self.said = []
        self.wrong = []
        super().__init__(host, port, self.note)

    def note(self, datagram):
        try:
            said = unwrap(datagram)
        except (AssertionError, ValueError, KeyError, struct.error):
            self.wrong.append(datagram)
            return None
        self.said.append(said)
        return said.payload

    def __exit__(self, *words):
        super().__exit__(*words)
        if words[0] is None:
            assert not self.wrong, self.wrong[:3]
