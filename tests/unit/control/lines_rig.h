/* Connections through the runtime of runtime_rig.h: clients, two servers, and what these have of
 * each client. Closed in two steps: the clients' side before the threads end, the servers after. */
#ifndef LB4_TEST_LINES_RIG_H
#define LB4_TEST_LINES_RIG_H

#include "runtime_rig.h"

enum { LINES = 6 };

static struct lines {
    struct addr front;
    struct addr at[2];
    int servers[2];
    int clients[LINES];
    int accepted[LINES];
} lines;

static void lines_listen(void)
{
    lines = (struct lines){0};
    for (int i = 0; i < 2; i++)
        lines.servers[i] = sockets_listen(&lines.at[i]);
    lines.front = sockets_closed_port(); /* last, so that no server has it */
}

/* A connection that the runtime will hand to this server; a byte has gone through. */
static void lines_add(int index, int server)
{
    lines.clients[index] = sockets_connect(&lines.front);
    lines.accepted[index] = sockets_accept(lines.servers[server]);
    assert_int_equal(sockets_send(lines.clients[index], 0, 10), 10);
    sockets_wait(lines.accepted[index], POLLIN);
    assert_int_equal(sockets_read(lines.accepted[index], 0, 10), 10);
}

static void lines_hang_up(void)
{
    for (int i = 0; i < LINES; i++) {
        close(lines.clients[i]);
        close(lines.accepted[i]);
    }
}

static void lines_close(void)
{
    for (int i = 0; i < 2; i++)
        close(lines.servers[i]);
}

/* The runtime of service `a`, whose servers s1 and s2 take turns. */
static inline void lines_open_both(void)
{
    char text[RIG_TEXT_MAX];

    lines_listen();
    snprintf(text, sizeof(text),
             "service a {\n listen tcp 127.0.0.1:%u\n check none\n balance roundrobin\n"
             " server s1 127.0.0.1:%u\n server s2 127.0.0.1:%u\n}\n",
             addr_port(&lines.front), addr_port(&lines.at[0]), addr_port(&lines.at[1]));
    rig_open(text);
}

static inline void lines_add_all(void)
{
    for (int i = 0; i < LINES; i++)
        lines_add(i, i % 2);
}

#endif
