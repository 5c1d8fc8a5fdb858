#include "lb4/shared/stats.h"

#include <assert.h>
#include <errno.h>

#include "lb4/shared/reserve.h"

static const char *const reason_words[CLOSE_REASONS] = {
    [CLOSE_NONE] = "none",
    [CLOSE_CLIENT_FIN] = "client_fin",
    [CLOSE_SERVER_FIN] = "server_fin",
    [CLOSE_CLIENT_RST] = "client_rst",
    [CLOSE_SERVER_RST] = "server_rst",
    [CLOSE_IDLE] = "idle",
    [CLOSE_HALF_CLOSE] = "half_close",
    [CLOSE_CONNECT_FAILED] = "connect_failed",
    [CLOSE_NO_SERVER] = "no_server",
    [CLOSE_ADMIN] = "admin",
    [CLOSE_DRAIN] = "drain",
    [CLOSE_LIMIT] = "limit",
    [CLOSE_DENIED] = "denied",
    [CLOSE_SERVER_DOWN] = "server_down",
    [CLOSE_ERROR] = "error",
};

const char *close_reason_word(enum close_reason reason)
{
    return reason_words[reason];
}

static const char *const drop_words[UDP_DROPS] = {
    [UDP_DROP_LIMIT] = "limit",         [UDP_DROP_DENIED] = "denied", [UDP_DROP_HEADER] = "header",
    [UDP_DROP_NO_SERVER] = "no_server", [UDP_DROP_DRAIN] = "drain",   [UDP_DROP_LOOP] = "loop",
    [UDP_DROP_TRUNCATED] = "truncated", [UDP_DROP_FULL] = "full",     [UDP_DROP_LARGE] = "large",
    [UDP_DROP_REFUSED] = "refused",     [UDP_DROP_ERROR] = "error",   [UDP_DROP_KERNEL] = "kernel",
};

const char *udp_drop_word(enum udp_drop drop)
{
    return drop_words[drop];
}

/* Pages of their own, so that the blocks of two workers never share a cache line. */
int stats_block_init(struct stats_block *block, size_t n_services, size_t n_servers)
{
    *block = (struct stats_block){.n_services = n_services, .n_servers = n_servers};
    block->services = reserve_memory(n_services, sizeof(*block->services));
    block->servers = reserve_memory(n_servers, sizeof(*block->servers));
    if (!block->services || !block->servers) {
        stats_block_fini(block);
        return -ENOMEM;
    }
    return 0;
}

void stats_block_fini(struct stats_block *block)
{
    reserve_release(block->services, block->n_services, sizeof(*block->services));
    reserve_release(block->servers, block->n_servers, sizeof(*block->servers));
    block->services = NULL;
    block->servers = NULL;
}

/* The closed are read before the opened: a connection counts as opened first, so the difference is
 * never negative, whatever happens in between. */
static void add_service(const struct stats_service *from, struct stats_service_sum *sum)
{
    uint64_t closed = 0;
    uint64_t connections;

    for (size_t i = 0; i < CLOSE_REASONS; i++) {
        uint64_t n = stats_read(&from->closed[i]);

        sum->closed[i] += n;
        closed += n;
    }
    connections = stats_read(&from->connections);
    sum->connections += connections;
    sum->active += connections - closed;
    sum->bytes_in += stats_read(&from->bytes_in);
    sum->bytes_out += stats_read(&from->bytes_out);
    sum->redispatches += stats_read(&from->redispatches);
    histogram_read(&from->session_ns, &sum->session_ns);
    histogram_read(&from->session_bytes, &sum->session_bytes);
}

/* The ended before the begun, for the same reason. */
static void add_udp(const struct stats_udp *from, struct stats_udp_sum *sum)
{
    uint64_t ended = stats_read(&from->ended);
    uint64_t sessions = stats_read(&from->sessions);

    sum->sessions += sessions;
    sum->active += sessions - ended;
    sum->datagrams_in += stats_read(&from->datagrams_in);
    sum->datagrams_out += stats_read(&from->datagrams_out);
    sum->bytes_in += stats_read(&from->bytes_in);
    sum->bytes_out += stats_read(&from->bytes_out);
    sum->rebinds += stats_read(&from->rebinds);
    for (size_t i = 0; i < UDP_DROPS; i++)
        sum->dropped[i] += stats_read(&from->dropped[i]);
}

void stats_sum_service(const struct stats_block *blocks, size_t n_blocks, size_t index,
                       struct stats_service_sum *ret)
{
    *ret = (struct stats_service_sum){0};
    for (size_t i = 0; i < n_blocks; i++) {
        add_service(&blocks[i].services[index], ret);
        add_udp(&blocks[i].services[index].udp, &ret->udp);
        stats_add_waiting(&blocks[i].services[index].waiting, &ret->waiting);
        stats_add_refusal(&blocks[i].services[index].refused, &ret->refused);
        stats_add_affinity(&blocks[i].services[index].affinity, &ret->affinity);
        stats_add_local(&blocks[i].services[index].local, &ret->local);
    }
}

void stats_sum_server(const struct stats_block *blocks, size_t n_blocks, size_t index,
                      struct stats_server_sum *ret)
{
    *ret = (struct stats_server_sum){0};
    for (size_t i = 0; i < n_blocks; i++) {
        ret->connections += stats_read(&blocks[i].servers[index].connections);
        ret->connect_failures += stats_read(&blocks[i].servers[index].connect_failures);
        histogram_read(&blocks[i].servers[index].connect_ns, &ret->connect_ns);
    }
}

void stats_carry_server(struct stats_server_sum *to, const struct stats_server_sum *from)
{
    to->connections += from->connections;
    to->connect_failures += from->connect_failures;
    to->checks_ok += from->checks_ok;
    to->checks_failed += from->checks_failed;
    to->checks_unknown += from->checks_unknown;
    histogram_carry(&to->connect_ns, &from->connect_ns);
}

static void clear(stats_counter *counters, size_t n)
{
    for (size_t i = 0; i < n; i++)
        stats_zero(&counters[i]);
}

void stats_clear_service(struct stats_block *blocks, size_t n_blocks, size_t index)
{
    static_assert(sizeof(struct stats_service) % sizeof(stats_counter) == 0, "counters only");
    for (size_t i = 0; i < n_blocks; i++)
        clear((stats_counter *)&blocks[i].services[index],
              sizeof(struct stats_service) / sizeof(stats_counter));
}

void stats_clear_server(struct stats_block *blocks, size_t n_blocks, size_t index)
{
    static_assert(sizeof(struct stats_server) % sizeof(stats_counter) == 0, "counters only");
    for (size_t i = 0; i < n_blocks; i++)
        clear((stats_counter *)&blocks[i].servers[index],
              sizeof(struct stats_server) / sizeof(stats_counter));
}
