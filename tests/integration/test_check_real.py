"""The checks of Redis, HTTP and DNS against the real servers: up, stopped, hung, of the wrong role,
with a wrong answer, in single bytes, and a megabyte of junk in its place."""
import pytest

import real_servers as real
from check_watch import LINES_LIMIT_S, Watch, see_all, HASTY

pytestmark = pytest.mark.patient


# --- Redis

NO_REDIS = r"not a Redis answer: '\\xa5Z\\x00junk'"


@real.needs_redis
def test_redis(start_lb4, servers_directory):
    see_all(start_lb4, real.Redis(servers_directory), "redis", NO_REDIS)


@real.needs_redis
@pytest.mark.parametrize("role", ["master", "replica"])
def test_redis_of_a_role(start_lb4, servers_directory, role):
    with real.Redis(servers_directory) as master:
        words = ["--replicaof", "127.0.0.1", str(master.port)] if role == "replica" else []
        see_all(start_lb4, real.Redis(servers_directory, *words), f"redis role {role}", NO_REDIS)


@real.needs_redis
def test_a_failover_of_redis(start_lb4, servers_directory):
    with real.Redis(servers_directory) as master, real.Redis(servers_directory) as replica:
        replica.cli("replicaof", "127.0.0.1", str(master.port))
        writes = Watch(start_lb4, replica.address, "redis role master")
        reads = Watch(start_lb4, replica.address, "redis role replica")
        writes.wait_down("wanted role master, it is a replica")
        reads.assert_stays()
        replica.cli("replicaof", "no", "one")
        writes.wait("UP")
        reads.wait_down("wanted role replica, it is a master")


@real.needs_redis
def test_redis_that_loads_its_data(start_lb4, servers_directory):
    server = real.Redis(servers_directory)
    with server:
        watch = Watch(start_lb4, server.address, "redis")
        server.cli("eval", "for i = 1, 2000 do redis.call('set', i, i) end", "0")
        server.cli("save")
        server.stop()
        watch.wait_down()
        server.words += ["--key-load-delay", "100000", "--loading-process-events-interval-bytes",
                         "1024"]
        server.start(waits=False)
        told = r"outcome=failed.*LOADING"
        line = watch.lb4.wait_line(told, LINES_LIMIT_S, watch.start)
        print(line)
        server.words.clear()
        server.signal(9)
        server.process.wait()
        server.start()
        watch.wait("UP")


@real.needs_redis
def test_redis_with_a_password(start_lb4, servers_directory):
    with real.Redis(servers_directory, "--requirepass", "secret") as server:
        Watch(start_lb4, server.address, "redis").assert_stays()
        Watch(start_lb4, server.address, "redis role master").wait_down("it wants a password")


# --- HTTP

NO_HTTP = r"'\\xa5Z\\x00junk"


@real.needs_nginx
def test_http(start_lb4, servers_directory):
    see_all(start_lb4, real.Nginx(servers_directory), "http /health", NO_HTTP)


@real.needs_nginx
def test_http_that_is_sick(start_lb4, servers_directory):
    with real.Nginx(servers_directory) as server:
        watch = Watch(start_lb4, server.address, "http /health status 200")
        watch.assert_stays()
        server.be_sick(True)
        watch.wait_down("503")
        server.be_sick(False)
        watch.wait("UP")


# --- DNS

@real.needs_nsd
def test_dns_over_tcp(start_lb4, servers_directory):
    see_all(start_lb4, real.Nsd(servers_directory), "dns ns.lb4.example", "DNS")


@real.needs_nsd
def test_dns_over_udp(start_lb4, servers_directory):
    with real.Nsd(servers_directory) as server:
        check = "dns ns.lb4.example"
        Watch(start_lb4, server.address, check, "udp").see_stop(server, "connection refused")
        Watch(start_lb4, server.address, check, "udp", HASTY).see_hang(server)


@real.needs_nsd
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_dns_that_refuses(start_lb4, servers_directory, transport):
    with real.Nsd(servers_directory) as server:
        Watch(start_lb4, server.address, "dns elsewhere.example", transport).wait_down(
            "DNS answer REFUSED")
        Watch(start_lb4, server.address, "dns no.lb4.example", transport).assert_stays()
