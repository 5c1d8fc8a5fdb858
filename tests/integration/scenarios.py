"""The ending matrix as data: what two actors do, and what each must see.

`client_sees` and `server_sees` are (bytes, end): bytes exact, or (least, most); end one word or
several, None where the script does not look. `reasons` are the words that lb4's log may give for
the end. `direct` says what differs without a proxy: None = nothing, a string = why there is no such
case, a dict = other values of these fields.
"""
import dataclasses
import typing

MB = 1_000_000
ANY = (0, 1 << 60)


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    faults: str  # the classes of FAULTS that it stands for
    client: str
    server: str
    client_sees: tuple
    server_sees: tuple
    reasons: tuple
    direct: typing.Any = None
    directives: tuple = ()  # of the service
    client_buffer: int = 0  # SO_RCVBUF and SO_SNDBUF, 0 = as the kernel likes
    server_buffer: int = 0
    accept_after_ms: int = 0
    is_listening: bool = True
    is_server_optional: bool = False  # the server may never see this connection
    is_held: bool = False  # nothing connects to the server before a `release`
    is_alone: bool = False  # sensitive to a busy machine: not beside other cases
    needs_nft: bool = False


EITHER_FIN = ("client_fin", "server_fin")
SMALL = 4096  # a receiver's buffer; the kernel doubles it

SCENARIOS = [
    # --- half-close, in both orders (F01, F02, F06, F15)
    Scenario(
        "reply_after_client_fin", "F01",
        client="send 100 | fin | end", server="end | send 1000000 | fin",
        client_sees=(MB, "fin"), server_sees=(100, "fin"), reasons=("client_fin",)),
    Scenario(
        "upload_after_server_fin", "F01",
        client="end | send 1000000 | fin", server="send 100 | fin | end",
        client_sees=(100, "fin"), server_sees=(MB, "fin"), reasons=("server_fin",)),
    Scenario(
        "request_reply_client_ends", "F01",
        client="send 100 | recv 200 | fin | end", server="recv 100 | send 200 | end | fin",
        client_sees=(200, "fin"), server_sees=(100, "fin"), reasons=("client_fin",)),
    Scenario(
        "request_reply_server_ends", "F01",
        client="send 100 | end", server="recv 100 | send 200 | close",
        client_sees=(200, "fin"), server_sees=(100, None), reasons=("server_fin",)),
    Scenario(
        "both_fin_at_once", "F01",
        client="send 1000 | meet | fin | end", server="send 1000 | meet | fin | end",
        client_sees=(1000, "fin"), server_sees=(1000, "fin"), reasons=EITHER_FIN),
    Scenario(
        "client_fin_without_bytes", "F01",
        client="fin | end", server="end | fin",
        client_sees=(0, "fin"), server_sees=(0, "fin"), reasons=("client_fin",)),
    Scenario(
        "server_closes_without_bytes", "F01",
        client="end", server="close",
        client_sees=(0, "fin"), server_sees=(0, None), reasons=("server_fin",)),
    Scenario(
        "client_fin_glued_to_last_byte", "F01 F15",
        client="more 3001 | fin | end", server="end | send 1 | fin",
        client_sees=(1, "fin"), server_sees=(3001, "fin"), reasons=("client_fin",)),
    Scenario(
        "server_fin_glued_to_last_byte", "F01 F15",
        client="end | send 1 | fin", server="more 3001 | fin | end",
        client_sees=(3001, "fin"), server_sees=(1, "fin"), reasons=("server_fin",)),
    Scenario(
        "client_stalls_then_reads_to_the_fin", "F02",
        client="stall 300 | widen | end", server="send 5000000 | fin | end", client_buffer=SMALL,
        client_sees=(5 * MB, "fin"), server_sees=(0, "fin"), reasons=("server_fin",)),
    Scenario(
        "server_stalls_then_reads_to_the_fin", "F02",
        client="send 5000000 | fin | end", server="stall 300 | widen | end", server_buffer=SMALL,
        client_sees=(0, "fin"), server_sees=(5 * MB, "fin"), reasons=("client_fin",)),
    Scenario(
        "client_uploads_and_leaves", "F02",
        client="send 3000000 | close",
        server="recv 1000 | stall 150 | recv 200000 | stall 150 | end",
        client_sees=(0, None), server_sees=(3 * MB, "fin"), reasons=("client_fin",)),
    Scenario(
        "server_replies_and_leaves", "F02",
        client="recv 1000 | stall 150 | recv 200000 | stall 150 | end",
        server="send 3000000 | close",
        client_sees=(3 * MB, "fin"), server_sees=(0, None), reasons=("server_fin",)),
    Scenario(
        "bulk_both_ways", "F01 F02",
        client="swap 4000000", server="swap 4000000",
        client_sees=(4 * MB, "fin"), server_sees=(4 * MB, "fin"), reasons=EITHER_FIN),

    # --- resets, in both directions, after the data (F03, F04, F35, 0.2)
    Scenario(
        "client_reset", "F03",
        client="send 100 | recv 1 | rst", server="recv 100 | send 1 | end",
        client_sees=(1, None), server_sees=(100, "rst"), reasons=("client_rst",)),
    Scenario(
        "server_reset", "F03",
        client="send 100 | end", server="recv 100 | rst",
        client_sees=(0, "rst"), server_sees=(100, None), reasons=("server_rst",)),
    Scenario(
        "server_resets_at_once", "F03",
        client="end", server="rst",
        client_sees=(0, "rst"), server_sees=(0, None), reasons=("server_rst",)),
    Scenario(
        "reply_then_server_reset", "F03 F04",
        client="end", server="send 1000000 | flush | rst",
        client_sees=(MB, "rst"), server_sees=(0, None), reasons=("server_rst",)),
    Scenario(
        "upload_then_client_reset", "F03 F04",
        client="send 1000000 | flush | rst", server="end",
        client_sees=(0, None), server_sees=(MB, "rst"), reasons=("client_rst",)),
    Scenario(
        "few_bytes_with_the_server_reset", "F04",
        client="send 1 | end", server="recv 1 | send 3 | flush | rst",
        client_sees=(3, "rst"), server_sees=(1, None), reasons=("server_rst",)),
    Scenario(
        "few_bytes_with_the_client_reset", "F04",
        client="recv 1 | send 3 | flush | rst", server="send 1 | end",
        client_sees=(1, None), server_sees=(3, "rst"), reasons=("client_rst",)),
    Scenario(
        "reply_then_reset_slow_client", "F03",
        client="stall 250 | end", server="send 60000 | flush | rst",
        client_sees=(60000, "rst"), server_sees=(0, None), reasons=("server_rst",)),
    Scenario(
        "client_reset_with_full_buffers", "F03",
        client="fill | meet | rst", server="fill | meet | reset within 2500",
        client_sees=(0, None), server_sees=(0, "rst"), reasons=("client_rst",)),
    Scenario(
        "server_reset_with_full_buffers", "F03",
        client="fill | meet | reset within 2500", server="fill | meet | rst",
        client_sees=(0, "rst"), server_sees=(0, None), reasons=("server_rst",)),
    Scenario(
        "client_fin_then_server_reset", "F03",
        client="send 10 | fin | end", server="end | send 1000 | flush | rst",
        client_sees=(1000, "rst"), server_sees=(10, "fin"), reasons=("client_fin", "server_rst")),
    Scenario(
        "server_fin_then_client_reset", "F03",
        client="end | send 1000 | flush | rst", server="send 10 | fin | end",
        client_sees=(10, "fin"), server_sees=(1000, "rst"), reasons=("server_fin", "client_rst")),
    Scenario(
        # With the client's bytes unread, the server's close is a reset (K6).
        "reply_and_close_with_unread_request", "F05 F06",
        client="send 1000 | end", server="queued 1000 | send 100000 | flush | close",
        client_sees=(100000, "rst"), server_sees=(0, None), reasons=("server_rst",)),
    Scenario(
        # Whether the client meets the FIN or the reset first depends on the kernel's timing when
        # there is no proxy, too: a FIN that was queued before the reset is read as a clean end.
        "last_words", "F06 K23",
        client="push 10000000", server="send 200 | close",
        client_sees=(200, ("fin", "rst")), server_sees=(0, None),
        reasons=("server_fin", "server_rst")),
    Scenario(
        "last_words_after_a_first_read", "F06 K23",
        client="push 10000000", server="recv 65536 | send 200 | close",
        client_sees=(200, ("fin", "rst")), server_sees=(65536, None),
        reasons=("server_fin", "server_rst")),
    Scenario(
        "client_writes_to_a_closed_server", "F06",
        client="end | send 1000 | reset within 2500", server="send 10 | close",
        client_sees=(10, "rst"), server_sees=(0, None), reasons=("server_fin", "server_rst")),
    Scenario(
        "client_resets_before_accept", "F35 K18",
        client="rst", server="end", is_server_optional=True,
        client_sees=(0, None), server_sees=(0, "rst"), reasons=("client_rst",)),
    Scenario(
        "client_sends_and_resets_before_accept", "F35 K18",
        client="send 1000 | rst", server="end", is_server_optional=True,
        client_sees=(0, None), server_sees=((0, 1000), "rst"), reasons=("client_rst",)),

    # --- before and around the connect (F40, F41, F44)
    Scenario(
        "request_and_fin_before_the_connect", "F44",
        client="send 100000 | fin | stall 50 | release | end", server="end | send 50000 | fin",
        is_held=True, needs_nft=True,
        client_sees=(50000, "fin"), server_sees=(100000, "fin"), reasons=("client_fin",),
        direct="the client itself could not connect"),
    Scenario(
        "request_and_fin_before_the_accept", "F44",
        client="send 60000 | fin | end", server="end | send 50000 | fin", accept_after_ms=200,
        client_sees=(50000, "fin"), server_sees=(60000, "fin"), reasons=("client_fin",)),
    Scenario(
        "client_resets_during_the_connect", "F44",
        client="send 1000 | stall 50 | rst", server="end",
        is_held=True, is_server_optional=True, needs_nft=True,
        client_sees=(0, None), server_sees=(0, "rst"), reasons=("client_rst",),
        direct="the client itself could not connect"),
    Scenario(
        "refused", "F41",
        client="send 100 | end within 1000", server="", is_listening=False, is_server_optional=True,
        client_sees=(0, "rst"), server_sees=(0, None), reasons=("connect_failed",)),
    Scenario(
        "connect_times_out", "F40",
        client="send 100 | end after 250 within 1500", server="end",
        is_held=True, is_server_optional=True, needs_nft=True,
        directives=("timeout connect 300ms", "tries 1"),
        client_sees=(0, "rst"), server_sees=(0, "rst"), reasons=("connect_failed",),
        direct="the kernel's own time-out is 127 s"),

    # --- urgent bytes (F19, K22, K28)
    Scenario(
        "urgent_bytes_from_the_client", "F19 K22",
        client="send 10 | urgent | send 20 | urgent | send 1000 | urgent | send 500000 | urgent"
        " | send 2000000 | urgent | send 7 | urgent | fin | end",
        server="end | send 5 | fin",
        client_sees=(5, "fin"), server_sees=(2501037, "fin"), reasons=("client_fin",)),
    Scenario(
        "urgent_bytes_from_the_server", "F19 K22",
        client="end | send 5 | fin",
        server="send 10 | urgent | send 20 | urgent | send 1000 | urgent | send 500000 | urgent"
        " | send 2000000 | urgent | send 7 | urgent | fin | end",
        client_sees=(2501037, "fin"), server_sees=(5, "fin"), reasons=("server_fin",)),

    # --- small segments and stalls (F10, F11, F15)
    Scenario(
        "ping_pong", "F15",
        client="ping 100 | fin | end", server="pong 100 | end | fin", is_alone=True,
        client_sees=(5050, "fin"), server_sees=(5050, "fin"), reasons=("client_fin",)),
    Scenario(
        "small_segments_to_a_stalled_client", "F10",
        client="stall 300 | widen | recv 300000 | fin | end",
        server="send 300000 in 100 | end | fin",
        client_buffer=SMALL,
        client_sees=(300000, "fin"), server_sees=(0, "fin"), reasons=("client_fin",)),
    Scenario(
        "small_segments_to_a_stalled_server", "F10",
        client="send 300000 in 100 | end | fin",
        server="stall 300 | widen | recv 300000 | fin | end",
        server_buffer=SMALL,
        client_sees=(0, "fin"), server_sees=(300000, "fin"), reasons=("server_fin",)),
    Scenario(
        "full_segments_to_a_stalled_client", "F10 F11",
        client="stall 300 | widen | recv 1448000 | fin | end",
        server="send 1448000 in 1448 | end | fin",
        client_buffer=SMALL,
        client_sees=(1448000, "fin"), server_sees=(0, "fin"), reasons=("client_fin",)),
    Scenario(
        "full_segments_to_a_stalled_server", "F10 F11",
        client="send 1448000 in 1448 | end | fin",
        server="stall 300 | widen | recv 1448000 | fin | end",
        server_buffer=SMALL,
        client_sees=(0, "fin"), server_sees=(1448000, "fin"), reasons=("server_fin",)),

    # --- time-outs (F07, F08, F62)
    Scenario(
        "half_closed_by_the_client_expires", "F07",
        client="send 10 | fin | end after 500 within 3000", server="end | reset",
        directives=("timeout half-close 600ms",),
        client_sees=(0, "rst"), server_sees=(10, "rst"), reasons=("half_close",),
        direct="there is no time-out"),
    Scenario(
        "half_closed_by_the_server_expires", "F07",
        client="end | reset", server="send 10 | fin | end after 500 within 3000",
        directives=("timeout half-close 600ms",),
        client_sees=(10, "rst"), server_sees=(0, "rst"), reasons=("half_close",),
        direct="there is no time-out"),
    Scenario(
        "idle_expires", "F62",
        client="send 10 | recv 10 | end after 500 within 3000",
        server="recv 10 | send 10 | end after 500 within 3000",
        directives=("timeout idle 600ms",),
        client_sees=(10, "rst"), server_sees=(10, "rst"), reasons=("idle",),
        direct="there is no time-out"),
    Scenario(
        "one_way_trickle_survives_idle", "F62",
        client="end", server="trickle 8 250 | fin | end", directives=("timeout idle 1s",),
        client_sees=(8, "fin"), server_sees=(0, "fin"), reasons=("server_fin",)),
    Scenario(
        "vanished_client", "F08",
        client="send 10 | recv 10 | vanish | stall 1", server="recv 10 | send 10 | end within 4000",
        directives=("timeout idle 600ms",), needs_nft=True,
        client_sees=(10, None), server_sees=(10, "rst"), reasons=("idle",),
        direct="nothing ends it but the kernel's keepalive"),
]
