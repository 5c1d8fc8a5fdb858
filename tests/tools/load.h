/* load: the servers and the clients of the benchmark, one thread each. See the usage text in
 * load.c. */
#ifndef LB4_TESTS_TOOLS_LOAD_H
#define LB4_TESTS_TOOLS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "net.h"

enum { LOAD_BUFFER_BYTES = 128 << 10, LOAD_CAP_LISTENERS = 8, LOAD_CAP_EVENTS = 256 };

/* What a server does with its connections. */
enum load_mode {
    LOAD_ECHO,   /* sends back what it gets */
    LOAD_ANSWER, /* reads one request, answers with as many bytes and closes first (see
                    load_serve.c) */
    LOAD_SOURCE, /* sends until the other side has had enough */
    LOAD_SINK,   /* reads to the FIN, then answers with the count, 8 bytes little-endian, and closes
                  */
    LOAD_N_MODES
};

struct load_listener {
    struct net_addr addr;
    enum load_mode mode;
    int fd;
};

/* Serve until SIGTERM; prints "ready" on stdout once all listeners are open. @request_bytes is what
 * LOAD_ANSWER waits for. Returns an exit code. */
int load_serve(struct load_listener *listeners, unsigned n_listeners, unsigned request_bytes);

enum load_scenario {
    LOAD_PINGPONG,  /* against LOAD_ECHO: request, answer, again; unit = exchange */
    LOAD_CRR,       /* against LOAD_ANSWER: connect, request, answer, end; unit = connection */
    LOAD_BULK_DOWN, /* against LOAD_SOURCE; unit = byte */
    LOAD_BULK_UP,   /* against LOAD_SINK; unit = byte that the server has confirmed */
    LOAD_IDLE, /* against LOAD_ECHO: one exchange, silence, one exchange; unit = connection that did
                  both */
    LOAD_N_SCENARIOS
};

struct load_options {
    enum load_scenario scenario;
    struct net_addr target;
    unsigned n_connections;
    unsigned request_bytes; /* of pingpong, crr and idle; at most LOAD_BUFFER_BYTES */
    unsigned answer_bytes;  /* of the same */
    const char *request;    /* its text; NULL: zeros */
    uint64_t duration_ns;
};

/* Run one scenario and print its figures as one line of JSON. Returns an exit code: 1 if there were
 * errors. */
int load_run(const struct load_options *options);

#endif
