"""The words of a listener: interface, v6only, fastopen, defer-accept, mark; and the mark and the
interface of a server. Those that a socket can follow change at a reload without a client lost."""
import pathlib
import re
import socket
import subprocess
import threading

import pytest

import daemon
import namespace
import servers
import udp_drill


TCP_FASTOPEN_CONNECT = 30


def service(listens, address, *words, name="web"):
    lines = [*(f"listen {each}" for each in listens), *words, f"server s1 {address}"]
    return f"service {name} {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def reload(lb4, desk, text):
    pathlib.Path(lb4.directory.name, "lb4.conf").write_text(desk.directive + text)
    desk.do("reload")


def refusal(binary, text, **options):
    """What it says instead of a start."""
    lb4 = daemon.Daemon(binary, config=text, is_scraped=False, **options)
    assert lb4.wait_exit() == 1
    lb4.kill()
    return "\n".join(lb4.lines)


def listening(port):
    """What ss(8) says of the sockets that listen on the port."""
    done = subprocess.run(["ss", "-ltneOH", f"sport = :{port}"], capture_output=True, text=True,
                          check=True)
    return done.stdout.splitlines()


def test_one_port_by_interface(start_lb4):
    """Two listeners of one address that differ by their interface alone: each has its clients."""
    with namespace.Neighbour(1500) as far, servers.EchoServer() as near, \
            servers.ServerProcess("other") as other:
        port = namespace.take_port()
        start_lb4(["-w", "2"], config=service([f"tcp :{port} interface lo"], near.address) +
                  service([f"tcp :{port} interface near"], other.address, name="far"))
        for _ in range(4):
            servers.ask_once(f"127.0.0.1:{port}")
        assert near.n_accepted == 4
        sock = far.run(servers.connect, f"10.77.0.1:{port}")
        with sock:
            sock.sendall(b"x")
            assert sock.recv(100)
        assert near.n_accepted == 4


def test_a_port_that_another_has_is_refused(binary):
    """Whoever else listens there, on the same interface or on all (K26)."""
    port = namespace.take_port()
    text = service([f"tcp :{port} interface lo"], "127.0.0.1:9")
    for interface in (b"", b"lo"):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if interface:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface)
            other.bind(("0.0.0.0", port))
            other.listen()
            assert "another process listens there" in refusal(binary, text)


def test_no_such_interface(binary):
    text = service(["tcp :7000 interface nowhere"], "127.0.0.1:9")
    assert "No such device (there is no interface of this name" in refusal(binary, text)


def test_v6only(start_lb4):
    """Beside a listener for IPv4 of another service."""
    port = namespace.take_port()
    with servers.EchoServer() as six, servers.EchoServer() as four:
        start_lb4(config=service([f"tcp :{port} v6only"], six.address) +
                  service([f"tcp 0.0.0.0:{port}"], four.address, name="four"))
        servers.ask_once(f"[::1]:{port}")
        servers.ask_once(f"127.0.0.1:{port}")
        assert (six.n_accepted, four.n_accepted) == (1, 1)


def test_fastopen(start_lb4):
    """The second connection of a client brings its data with the SYN."""
    port = namespace.take_port()
    with servers.EchoServer() as server, namespace.sysctl("net.ipv4.tcp_fastopen", "3"):
        start_lb4(config=service([f"tcp 127.0.0.1:{port} fastopen 16"], server.address))
        for _ in range(3):
            with socket.socket() as client:
                client.settimeout(10)
                client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
                client.connect(("127.0.0.1", port))
                servers.ask(client)
        done = subprocess.run(["nstat", "-asz", "TcpExtTCPFastOpenPassive"], capture_output=True,
                              text=True, check=True)
    assert int(re.search(r"TCPFastOpenPassive\s+(\d+)", done.stdout)[1]) >= 1


def answer_and_close(server):
    """Both in one segment."""
    sock, _ = server.accept()
    with sock:
        sock.recv(100)
        sock.send(b"answer", socket.MSG_MORE)


@pytest.mark.skipif(not namespace.has_nft(), reason="nft is not installed")
def test_fastopen_answer_does_not_wait_for_the_handshake(start_lb4):
    """A server that answers and closes at once: the kernel puts the end off until the client's ACK
    has come, the answer is there before."""
    port = namespace.take_port()
    with socket.create_server(("127.0.0.1", 0)) as server, \
            namespace.sysctl("net.ipv4.tcp_fastopen", "519"):  # without a cookie, too
        address = f"127.0.0.1:{server.getsockname()[1]}"
        start_lb4(config=service([f"tcp 127.0.0.1:{port} fastopen 16"], address))
        answering = threading.Thread(target=answer_and_close, args=(server,))
        answering.start()
        with socket.socket() as client:
            client.settimeout(10)
            with namespace.filtered_port("unacknowledged", port):
                client.sendto(b"question", socket.MSG_FASTOPEN, ("127.0.0.1", port))
                assert client.recv(100) == b"answer"
            assert client.recv(100) == b""
        answering.join()


def test_tuning_follows_a_reload(start_lb4, desk):
    """On the very sockets: no client is lost, none waits."""
    port = namespace.take_port()
    listen = f"127.0.0.1:{port}"
    with servers.EchoServer() as server:
        lb4 = start_lb4(["-w", "2"], config=desk.directive +
                        service([f"tcp {listen}"], server.address))
        inodes = {re.search(r"ino:(\d+)", line)[1] for line in listening(port)}
        assert len(inodes) == 2
        with servers.connect(listen) as silent:
            reload(lb4, desk, service([f"tcp {listen} defer-accept 30s fastopen 8"],
                                      server.address))
            before = server.n_accepted
            with servers.connect(listen) as deferred:
                servers.ask(silent)
                assert server.n_accepted == before
                servers.ask(deferred)
            assert server.n_accepted == before + 1
        reload(lb4, desk, service([f"tcp {listen}"], server.address))
        with servers.connect(listen):
            servers.wait_until(lambda: server.n_accepted == before + 2)
        assert {re.search(r"ino:(\d+)", line)[1] for line in listening(port)} == inodes


def test_interface_follows_a_reload(start_lb4, desk):
    """Other sockets, and connections stay."""
    port = namespace.take_port()
    listen = f"127.0.0.1:{port}"
    with servers.EchoServer() as server:
        lb4 = start_lb4(["-w", "2"], config=desk.directive +
                        service([f"tcp {listen}"], server.address))
        with servers.connect(listen) as client:
            servers.ask(client)
            for words in (" interface lo", ""):
                reload(lb4, desk, service([f"tcp {listen}{words}"], server.address))
                servers.ask(client)
                servers.ask_once(listen)
                assert all(("%lo" in line) == bool(words) for line in listening(port))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_interface_is_made_anew(start_lb4, desk, transport):
    """The kernel takes it for another one, and the sockets hear nobody: doctor tells, and a reload
    without a change in the file binds anew. While it is away, reloads change nothing."""
    port = namespace.take_port()

    def hears(far):
        sock = far.run(socket.socket, socket.AF_INET,
                       socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(5)
            sock.connect(("10.77.0.1", port))
            sock.send(b"x")
            return sock.recv(10) == b"x"

    with servers.EchoServer() as stream, udp_drill.UdpServer() as datagrams:
        address = stream.address if transport == "tcp" else datagrams.address
        with namespace.Neighbour(1500) as far:
            lb4 = start_lb4(["-w", "2"], config="drain 1s\n" + desk.directive + service(
                [f"{transport} :{port} interface near"], address, "timeout udp 1s"))
            assert hears(far)
            assert "interface near is not here" not in desk.do("doctor")
        desk.do("reload")
        assert "interface near is not here, or was made anew" in desk.run("doctor").stdout
        with namespace.Neighbour(1500) as far:
            assert "interface near is not here, or was made anew" in desk.run("doctor").stdout
            for _ in range(2):
                desk.do("reload")
                assert hears(far)
            assert "interface near is not here" not in desk.do("doctor")
        told = [line for line in lb4.lines if "reload: ~ interface near of web: made anew" in line]
        assert len(told) == 1, told


def test_mark_without_the_capability(binary):
    if not daemon.can_change_uid():
        pytest.skip("there is one uid only")
    assert "mark needs CAP_NET_ADMIN or CAP_NET_RAW" in refusal(
        binary, service(["tcp 127.0.0.1:7000 mark 7"], "127.0.0.1:9"))


def test_marks(start_lb4):
    """Of a listener and of a server, given by root before it becomes another user."""
    if not daemon.can_change_uid() or not namespace.has_nft():
        pytest.skip("needs root and nft")
    port = namespace.take_port()
    with servers.EchoServer() as server:
        subprocess.run(["nft", "-f", "-"], text=True, check=True, input=f"""
            table inet marks {{
                counter of_server {{ }}
                counter of_client {{ }}
                chain output {{
                    type filter hook output priority 0;
                    tcp dport {server.port} meta mark 9 counter name of_server
                    tcp sport {port} meta mark 7 counter name of_client
                }}
            }}""")
        start_lb4(config="user nobody\n" +
                  service([f"tcp 127.0.0.1:{port} mark 7"], f"{server.address} mark 9"), uid=None)
        servers.ask_once(f"127.0.0.1:{port}")
        found = subprocess.run(["nft", "list", "counters", "table", "inet", "marks"],
                               capture_output=True, text=True, check=True).stdout
        subprocess.run(["nft", "delete", "table", "inet", "marks"], check=True)
    assert len(re.findall(r"packets [1-9]", found)) == 2, found


def test_a_mark_of_a_server_without_the_capability(start_lb4):
    """Our own trouble: told, and not the server's."""
    if not daemon.can_change_uid():
        pytest.skip("there is one uid only")
    with servers.EchoServer() as server:
        lb4 = start_lb4(config=service(["tcp 127.0.0.1:7000"], f"{server.address} mark 9"))
        assert servers.connect_end("127.0.0.1:7000")[0] == "rst"
        lb4.wait_line(r"service web: no connect to \S+: Operation not permitted \(`mark` needs CAP")


def test_interface_of_a_server(start_lb4):
    with namespace.Neighbour(1500), servers.EchoServer() as server:
        lb4 = start_lb4(config=service(["tcp 127.0.0.1:7000"], f"{server.address} interface lo"))
        servers.ask_once("127.0.0.1:7000")
        lb4.finish()
        lb4 = start_lb4(config=service(["tcp 127.0.0.1:7000"],
                                       f"{server.address} interface nowhere"))
        assert servers.connect_end("127.0.0.1:7000")[0] == "rst"
        lb4.wait_line("service web: no connect to .*: there is no interface 'nowhere'")
