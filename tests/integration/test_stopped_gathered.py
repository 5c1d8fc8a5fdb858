"""Left over: events fetched before a stop (epoll_wait returned 1) while the others' came during it."""
import sys; sys.path.insert(0, "/work/main/tests/integration")
import time, servers
LISTEN = "127.0.0.1:7000"
def test_a_stop_between_the_kernels_answer_and_the_clock(start_lb4, trace):
    with servers.EchoServer() as server:
        lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", server.address, "-o", "timeout idle 2s"])
        clients = [servers.connect(LISTEN) for _ in range(50)]
        for client in clients: servers.ask(client)
        with lb4.traced(trace, "epoll_wait", "delay_exit=2700000:when=1"):
            clients[0].sendall(b"y"); time.sleep(.3)
            for client in clients[1:]: client.sendall(b"y")
            ok = 0
            for client in clients:
                try: ok += client.recv(10) == b"y"
                except OSError: pass
        for client in clients: client.close()
        lb4.wait_n_closed("rule1", 50)
        assert ok == 50
