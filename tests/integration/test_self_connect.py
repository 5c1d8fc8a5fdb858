"""A dead server of this machine, on a port of the ephemeral range: the kernel may give a connect to
it that very port, and it ends up at itself. That is a refusal, and leaves the port to the server."""
import namespace
import servers

N_CLIENTS = 20
END_LIMIT_S = 5


def end_of_client(listen, source_port):
    """What a client that sends much at once gets: the bytes that came, and how it ended."""
    host = listen.rsplit(":", 1)[0].strip("[]")
    came = b""
    try:
        with servers.connect(listen, END_LIMIT_S, source=(host, source_port)) as client:
            client.sendall(b"secret" * 1000)
            came = client.recv(65536)
            return came, "fin"
    except (ConnectionResetError, BrokenPipeError):
        return came, "rst"
    except OSError as error:
        return came, str(error)


def test_a_connect_to_itself_is_a_refusal(start_lb4, family):
    """The range holds no port but the server's: each connect that is let through is to itself."""
    port = namespace.take_port()
    source = namespace.take_ports(N_CLIENTS)
    listen = namespace.address(family, 7000)
    lb4 = start_lb4(["-w", "1", "-l", listen, "-s", namespace.address(family, port)])
    with namespace.sysctl("net.ipv4.ip_local_port_range", f"{port} {port}"):
        for i in range(N_CLIENTS):
            assert end_of_client(listen, source + i) == (b"", "rst")
        ends = lb4.wait_n_closed("rule1", N_CLIENTS)
    assert {(end["reason"], end["in"]) for end in ends} == {("connect_failed", "0")}
    lb4.finish()
    assert lb4.summary()["server", "rule1/s1"]["connect_failures"] == N_CLIENTS


def test_the_server_can_come_back_after_connects_to_themselves(start_lb4, family):
    """They leave nothing on its port, no TIME_WAIT either, which would refuse its bind for a
    minute."""
    port = namespace.take_port()
    source = namespace.take_ports(N_CLIENTS)
    listen = namespace.address(family, 7000)
    lb4 = start_lb4(["-w", "1", "-l", listen, "-s", namespace.address(family, port)])
    with namespace.sysctl("net.ipv4.ip_local_port_range", f"{port} {port}"):
        for i in range(N_CLIENTS):
            end_of_client(listen, source + i)
        lb4.wait_n_closed("rule1", N_CLIENTS)
    with servers.EchoServer(family, port=port):
        servers.ask_once(listen)
    lb4.wait_n_closed("rule1", N_CLIENTS + 1)
