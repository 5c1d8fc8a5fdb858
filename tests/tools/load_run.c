/* The clients: every scenario is an event handler over the same array of connections. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "histogram.h"
#include "load.h"

enum { PATIENCE_MS = 5000 }; /* for one connect, answer or confirmation outside the measured time */

struct client {
    int fd;
    uint64_t begin_ns; /* of the unit in progress */
    uint64_t n_sent, n_received;
    bool is_confirmed; /* bulk up: the server's count has come and is right */
};

struct run {
    const struct load_options *options;
    int epoll_fd;
    struct client *clients;
    uint64_t begin_ns, end_ns;
    uint64_t n_units, n_bytes, n_errors;
    struct histogram latency;
};

/* What is sent, and where what comes is put. */
static uint8_t request[LOAD_BUFFER_BYTES], buffer[LOAD_BUFFER_BYTES];

static bool would_block(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static void watch(const struct run *run, struct client *client, int operation, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.ptr = client};

    if (epoll_ctl(run->epoll_fd, operation, client->fd, &event) < 0)
        perror("load: epoll_ctl");
}

static void close_client(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

static void fail_client(struct run *run, struct client *client)
{
    run->n_errors++;
    close_client(client);
}

static bool wait_for(int fd, short events)
{
    struct pollfd item = {.fd = fd, .events = events};

    return poll(&item, 1, PATIENCE_MS) == 1;
}

/* Connect and wait until it is done. */
static void establish(struct run *run, struct client *client)
{
    int error = 0;
    socklen_t length = sizeof(error);

    client->fd = net_connect(&run->options->target);
    if (client->fd < 0 || !wait_for(client->fd, POLLOUT) ||
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error != 0)
        fail_client(run, client);
}

static void establish_all(struct run *run, uint32_t mask)
{
    for (unsigned i = 0; i < run->options->n_connections; i++) {
        struct client *client = &run->clients[i];
        establish(run, client);
        if (client->fd >= 0)
            watch(run, client, EPOLL_CTL_ADD, mask);
    }
}

static void begin_clock(struct run *run)
{
    run->begin_ns = net_now_ns();
    run->end_ns = run->begin_ns + run->options->duration_ns;
}

/* --- requests and answers (pingpong, idle, crr) --- */

static void send_request(struct run *run, struct client *client)
{
    client->begin_ns = net_now_ns();
    client->n_received = 0;
    if (send(client->fd, request, run->options->request_bytes, MSG_NOSIGNAL) !=
        (ssize_t)run->options->request_bytes)
        fail_client(run, client);
}

static void end_unit(struct run *run, const struct client *client)
{
    histogram_add(&run->latency, net_now_ns() - client->begin_ns);
    run->n_units++;
    run->n_bytes += run->options->request_bytes + run->options->answer_bytes;
}

static void on_pingpong(struct run *run, struct client *client)
{
    ssize_t got = recv(client->fd, buffer, sizeof(buffer), 0);

    if (got <= 0) {
        if (got == 0 || !would_block())
            fail_client(run, client);
        return;
    }
    client->n_received += (uint64_t)got;
    if (client->n_received < run->options->answer_bytes)
        return;
    end_unit(run, client);
    send_request(run, client);
}

static void start_crr(struct run *run, struct client *client)
{
    client->begin_ns = net_now_ns();
    client->n_sent = client->n_received = 0;
    client->fd = net_connect(&run->options->target);
    if (client->fd < 0) {
        run->n_errors++;
        return;
    }
    watch(run, client, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | EPOLLET);
}

static void end_crr(struct run *run, struct client *client, bool is_right)
{
    if (is_right)
        end_unit(run, client);
    else
        run->n_errors++;
    close_client(client);
    start_crr(run, client);
}

/* Edge-triggered: everything that is possible is done at every event. */
static void on_crr(struct run *run, struct client *client)
{
    ssize_t got;

    if (client->n_sent == 0) {
        ssize_t sent = send(client->fd, request, run->options->request_bytes, MSG_NOSIGNAL);
        if (sent < 0 && would_block())
            return;
        client->n_sent = sent < 0 ? 0 : (uint64_t)sent;
    }
    while ((got = recv(client->fd, buffer, sizeof(buffer), 0)) > 0)
        client->n_received += (uint64_t)got;
    if (got < 0 && would_block())
        return;
    end_crr(run, client, got == 0 && client->n_received == run->options->answer_bytes);
}

/* --- bulk --- */

static void on_bulk_down(struct run *run, struct client *client)
{
    ssize_t got = recv(client->fd, buffer, sizeof(buffer), 0);

    if (got > 0) {
        client->n_received += (uint64_t)got;
        run->n_bytes += (uint64_t)got;
    } else if (got == 0 || !would_block()) {
        fail_client(run, client);
    }
}

static void on_bulk_up(struct run *run, struct client *client)
{
    ssize_t sent = send(client->fd, buffer, sizeof(buffer), MSG_NOSIGNAL);

    if (sent > 0)
        client->n_sent += (uint64_t)sent;
    else if (!would_block())
        fail_client(run, client);
}

/* The clock runs on until the server has told what it got: bytes in flight do not count before they
 * arrive. */
static void confirm_uploads(struct run *run)
{
    for (unsigned i = 0; i < run->options->n_connections; i++) {
        if (run->clients[i].fd >= 0)
            shutdown(run->clients[i].fd, SHUT_WR);
    }
    for (unsigned i = 0; i < run->options->n_connections; i++) {
        struct client *client = &run->clients[i];
        uint64_t count = 0;
        if (client->fd < 0)
            continue;
        bool is_right = wait_for(client->fd, POLLIN) &&
                        recv(client->fd, &count, sizeof(count), 0) == sizeof(count) &&
                        count == client->n_sent;
        run->n_bytes += count;
        run->n_errors += !is_right;
    }
}

/* --- the loop --- */

static void dispatch(struct run *run, struct client *client)
{
    if (client->fd < 0)
        return;
    switch (run->options->scenario) {
    case LOAD_PINGPONG:
        on_pingpong(run, client);
        return;
    case LOAD_CRR:
        on_crr(run, client);
        return;
    case LOAD_BULK_DOWN:
        on_bulk_down(run, client);
        return;
    case LOAD_BULK_UP:
        on_bulk_up(run, client);
        return;
    case LOAD_IDLE:
    case LOAD_N_SCENARIOS:
        return;
    }
}

static void loop_until_end(struct run *run)
{
    struct epoll_event events[LOAD_CAP_EVENTS];

    while (net_now_ns() < run->end_ns) {
        int n = epoll_wait(run->epoll_fd, events, LOAD_CAP_EVENTS, 20);
        for (int i = 0; i < n; i++)
            dispatch(run, events[i].data.ptr);
    }
}

static void run_pingpong(struct run *run)
{
    establish_all(run, EPOLLIN);
    begin_clock(run);
    for (unsigned i = 0; i < run->options->n_connections; i++) {
        if (run->clients[i].fd >= 0)
            send_request(run, &run->clients[i]);
    }
    loop_until_end(run);
}

static void run_crr(struct run *run)
{
    begin_clock(run);
    for (unsigned i = 0; i < run->options->n_connections; i++)
        start_crr(run, &run->clients[i]);
    loop_until_end(run);
}

static void run_bulk(struct run *run)
{
    bool is_up = run->options->scenario == LOAD_BULK_UP;

    establish_all(run, is_up ? EPOLLOUT : EPOLLIN);
    begin_clock(run);
    loop_until_end(run);
    if (is_up)
        confirm_uploads(run);
    run->n_units = run->n_bytes;
}

/* --- idle --- */

static bool exchange_once(struct run *run, struct client *client)
{
    if (client->fd < 0)
        return false;
    send_request(run, client);
    while (client->fd >= 0 && client->n_received < run->options->answer_bytes) {
        ssize_t got =
            wait_for(client->fd, POLLIN) ? recv(client->fd, buffer, sizeof(buffer), 0) : 0;
        if (got <= 0)
            fail_client(run, client);
        else
            client->n_received += (uint64_t)got;
    }
    return client->fd >= 0;
}

static void run_idle(struct run *run)
{
    unsigned n_open = 0;

    for (unsigned i = 0; i < run->options->n_connections; i++) {
        establish(run, &run->clients[i]);
        n_open += exchange_once(run, &run->clients[i]);
    }
    fprintf(stderr, "holding %u\n", n_open);
    begin_clock(run);
    poll(NULL, 0, (int)(run->options->duration_ns / 1000000));
    for (unsigned i = 0; i < run->options->n_connections; i++) {
        if (exchange_once(run, &run->clients[i]))
            end_unit(run, &run->clients[i]);
    }
}

/* --- figures --- */

static void print_figures(const struct run *run, uint64_t took_ns)
{
    static const char *const names[LOAD_N_SCENARIOS] = {
        [LOAD_PINGPONG] = "pingpong", [LOAD_CRR] = "crr",   [LOAD_BULK_DOWN] = "bulk_down",
        [LOAD_BULK_UP] = "bulk_up",   [LOAD_IDLE] = "idle",
    };
    double seconds = (double)took_ns / 1e9;

    printf("{\"scenario\": \"%s\", \"connections\": %u, \"units\": %llu, \"seconds\": %.6f, "
           "\"units_per_second\": %.1f, ",
           names[run->options->scenario], run->options->n_connections,
           (unsigned long long)run->n_units, seconds, (double)run->n_units / seconds);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"bytes\": %llu, \"errors\": "
           "%llu}\n",
           (double)histogram_quantile(&run->latency, 0.5) / 1e3,
           (double)histogram_quantile(&run->latency, 0.99) / 1e3, (double)run->latency.max_ns / 1e3,
           (unsigned long long)run->n_bytes, (unsigned long long)run->n_errors);
}

static void run_scenario(struct run *run)
{
    switch (run->options->scenario) {
    case LOAD_PINGPONG:
        run_pingpong(run);
        return;
    case LOAD_CRR:
        run_crr(run);
        return;
    case LOAD_BULK_DOWN:
    case LOAD_BULK_UP:
        run_bulk(run);
        return;
    case LOAD_IDLE:
        run_idle(run);
        return;
    case LOAD_N_SCENARIOS:
        return;
    }
}

int load_run(const struct load_options *options)
{
    static struct run run;

    run.options = options;
    if (options->request)
        memcpy(request, options->request, options->request_bytes);
    run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    run.clients = calloc(options->n_connections, sizeof(struct client));
    if (run.epoll_fd < 0 || !run.clients) {
        perror("load: start");
        return 2;
    }
    run_scenario(&run);
    print_figures(&run, net_now_ns() - run.begin_ns);
    for (unsigned i = 0; i < options->n_connections; i++)
        close_client(&run.clients[i]);
    free(run.clients);
    return run.n_errors > 0 ? 1 : 0;
}
