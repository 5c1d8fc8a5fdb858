"""The contestants of scripts/bench: how each is configured and started.

Every contestant listens on one port per server of the load tool and forwards it there. All use as
many threads or processes as there are CPUs, which is each one's default or `auto`, and none writes
a log line per connection. Time-outs are long enough never to fire.
"""

import dataclasses
import os

SERVER_PORTS = {"echo": 9001, "answer": 9002, "source": 9003, "sink": 9004}
FIRST_PORT = 9100  # below the ephemeral range that the namespace is given

HAPROXY_GLOBAL = """global
    maxconn 4000
{tuning}defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
{options}"""

# `splice-auto` decides by traffic; for a fast stream in one direction HAProxy 2.6 was seen to stay
# with copying for good, so that a contestant that always splices shows what it can do at bulk.
BIG_PIPES = "    tune.pipesize 1048576\n"

NGINX_HEAD = """load_module {module};
daemon off;
pid {folder}/nginx.pid;
worker_processes auto;
worker_rlimit_nofile 10000;
events {{
    worker_connections 4000;
}}
stream {{
    proxy_connect_timeout 5s;
    proxy_timeout 1h;
"""

NGINX_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


@dataclasses.dataclass
class Contestant:
    """`ports` maps a server mode to the port where clients of that mode connect."""

    name: str
    ports: dict
    config: str = ""  # text of the file, where there is one
    command: tuple = ()  # empty: nothing runs, clients connect to the server

    def start_command(self, folder):
        path = os.path.join(folder, self.name + ".conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(self.config)
        return [word.replace("CONFIG", path) for word in self.command]


def make_ports(index):
    return {mode: FIRST_PORT + 10 * index + i for i, mode in enumerate(SERVER_PORTS)}


def make_lb4(name, binary, ports):
    config = "".join(
        f"service {mode} {{\n    listen tcp 127.0.0.1:{port}\n"
        f"    server s 127.0.0.1:{SERVER_PORTS[mode]}\n}}\n"
        for mode, port in ports.items())
    return Contestant(name, ports, config, (binary, "-c", "CONFIG"))


def make_haproxy(name, ports, tuning="", options=""):
    config = HAPROXY_GLOBAL.format(tuning=tuning, options=options) + "".join(
        f"listen {mode}\n    bind 127.0.0.1:{port}\n"
        f"    server s 127.0.0.1:{SERVER_PORTS[mode]}\n"
        for mode, port in ports.items())
    return Contestant(name, ports, config, ("/usr/sbin/haproxy", "-db", "-f", "CONFIG"))


def make_nginx(name, ports, folder):
    config = NGINX_HEAD.format(module=NGINX_MODULE, folder=folder) + "".join(
        f"    server {{\n        listen 127.0.0.1:{port} reuseport backlog=4096;\n"
        f"        proxy_pass 127.0.0.1:{SERVER_PORTS[mode]};\n    }}\n"
        for mode, port in ports.items()) + "}\n"
    return Contestant(name, ports, config,
                      ("/usr/sbin/nginx", "-e", "stderr", "-p", folder, "-c", "CONFIG"))


def make_contestants(lb4, against, folder):
    """In the order of a round; the ratios of the tables are to the first."""
    makers = [lambda ports: make_lb4("lb4", lb4, ports)]
    if against:
        makers.append(lambda ports: make_lb4("lb4-against", against, ports))
    makers += [
        lambda ports: make_haproxy("haproxy-auto", ports, BIG_PIPES, "    option splice-auto\n"),
        lambda ports: make_haproxy("haproxy-forced", ports, BIG_PIPES,
                                   "    option splice-request\n    option splice-response\n"),
        lambda ports: make_haproxy("haproxy", ports),
        lambda ports: make_nginx("nginx", ports, folder),
        lambda ports: Contestant("direct", SERVER_PORTS),
    ]
    return [make(make_ports(index)) for index, make in enumerate(makers)]
