#include "lb4/shared/stats.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

enum { N_BLOCKS = 3, N_SERVICES = 2, N_SERVERS = 3, N_LIVE_MAX = 1, N_SNAPSHOTS = 300000 };

/* The words are a contract: log, counters and dashboards. */
static void test_reason_words(void **state)
{
    static const struct {
        enum close_reason reason;
        const char *word;
    } cases[] = {
        {CLOSE_NONE, "none"},
        {CLOSE_CLIENT_FIN, "client_fin"},
        {CLOSE_SERVER_FIN, "server_fin"},
        {CLOSE_CLIENT_RST, "client_rst"},
        {CLOSE_SERVER_RST, "server_rst"},
        {CLOSE_IDLE, "idle"},
        {CLOSE_HALF_CLOSE, "half_close"},
        {CLOSE_CONNECT_FAILED, "connect_failed"},
        {CLOSE_NO_SERVER, "no_server"},
        {CLOSE_ADMIN, "admin"},
        {CLOSE_DRAIN, "drain"},
        {CLOSE_LIMIT, "limit"},
        {CLOSE_DENIED, "denied"},
        {CLOSE_SERVER_DOWN, "server_down"},
        {CLOSE_ERROR, "error"},
    };

    (void)state;
    assert_int_equal(sizeof(cases) / sizeof(cases[0]), CLOSE_REASONS);
    for (size_t i = 0; i < CLOSE_REASONS; i++)
        assert_string_equal(close_reason_word(cases[i].reason), cases[i].word);
}

static void test_drop_words(void **state)
{
    static const char *const words[] = {"limit", "denied",  "header",    "no_server",
                                        "drain", "loop",    "truncated", "full",
                                        "large", "refused", "error",     "kernel"};

    (void)state;
    assert_int_equal(sizeof(words) / sizeof(words[0]), UDP_DROPS);
    for (size_t i = 0; i < UDP_DROPS; i++)
        assert_string_equal(udp_drop_word(i), words[i]);
}

static void open_blocks(struct stats_block blocks[N_BLOCKS])
{
    for (size_t i = 0; i < N_BLOCKS; i++)
        assert_int_equal(stats_block_init(&blocks[i], N_SERVICES, N_SERVERS), 0);
}

static void close_blocks(struct stats_block blocks[N_BLOCKS])
{
    for (size_t i = 0; i < N_BLOCKS; i++) {
        stats_block_fini(&blocks[i]);
        stats_block_fini(&blocks[i]);
    }
}

static void test_new_block_is_zero(void **state)
{
    static struct stats_block blocks[N_BLOCKS];
    struct stats_service_sum none = {0};
    struct stats_service_sum sum;

    (void)state;
    open_blocks(blocks);
    assert_int_equal((uintptr_t)blocks[0].services % 64, 0);
    assert_int_equal((uintptr_t)blocks[0].servers % 64, 0);
    for (size_t i = 0; i < N_SERVICES; i++) {
        memset(&sum, 0xff, sizeof(sum));
        stats_sum_service(blocks, N_BLOCKS, i, &sum);
        assert_memory_equal(&sum, &none, sizeof(sum));
    }
    close_blocks(blocks);
}

static void test_sum_of_service(void **state)
{
    static struct stats_block blocks[N_BLOCKS];
    struct stats_service_sum sum;

    (void)state;
    open_blocks(blocks);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        struct stats_service *service = &blocks[i].services[1];

        stats_add(&service->connections, 10 + i);
        stats_add(&service->closed[CLOSE_IDLE], i);
        stats_add(&service->closed[CLOSE_ERROR], 1);
        stats_add(&service->bytes_in, 100);
        stats_add(&service->bytes_out, 1ull << 40);
        stats_add(&service->redispatches, 2);
    }
    stats_sum_service(blocks, N_BLOCKS, 1, &sum);
    assert_int_equal(sum.connections, 33);
    assert_int_equal(sum.closed[CLOSE_IDLE], 3);
    assert_int_equal(sum.closed[CLOSE_ERROR], 3);
    assert_int_equal(sum.active, 27);
    assert_int_equal(sum.bytes_in, 300);
    assert_int_equal(sum.bytes_out, 3ull << 40);
    assert_int_equal(sum.redispatches, 6);
    stats_sum_service(blocks, N_BLOCKS, 0, &sum);
    assert_int_equal(sum.connections, 0);
    close_blocks(blocks);
}

static void test_sum_of_udp(void **state)
{
    static struct stats_block blocks[N_BLOCKS];
    struct stats_service_sum sum;

    (void)state;
    open_blocks(blocks);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        struct stats_udp *udp = &blocks[i].services[1].udp;

        stats_add(&udp->sessions, 10 + i);
        stats_add(&udp->ended, 1 + i);
        stats_add(&udp->datagrams_in, 100);
        stats_add(&udp->datagrams_out, 200);
        stats_add(&udp->bytes_in, 1000);
        stats_add(&udp->bytes_out, 2000);
        stats_add(&udp->rebinds, 5);
        stats_add(&udp->dropped[UDP_DROP_LIMIT], 1);
        stats_add(&udp->dropped[UDP_DROP_KERNEL], i);
    }
    stats_sum_service(blocks, N_BLOCKS, 1, &sum);
    assert_int_equal(sum.udp.sessions, 33);
    assert_int_equal(sum.udp.active, 27);
    assert_int_equal(sum.udp.datagrams_in, 300);
    assert_int_equal(sum.udp.datagrams_out, 600);
    assert_int_equal(sum.udp.bytes_in, 3000);
    assert_int_equal(sum.udp.bytes_out, 6000);
    assert_int_equal(sum.udp.rebinds, 15);
    assert_int_equal(sum.udp.dropped[UDP_DROP_LIMIT], 3);
    assert_int_equal(sum.udp.dropped[UDP_DROP_KERNEL], 3);
    assert_int_equal(sum.connections, 0);
    close_blocks(blocks);
}

static void test_sum_of_server(void **state)
{
    static struct stats_block blocks[N_BLOCKS];
    struct stats_server_sum sum;

    (void)state;
    open_blocks(blocks);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        stats_add(&blocks[i].servers[2].connections, i + 1);
        stats_add(&blocks[i].servers[2].connect_failures, 10);
    }
    stats_sum_server(blocks, N_BLOCKS, 2, &sum);
    assert_int_equal(sum.connections, 6);
    assert_int_equal(sum.connect_failures, 30);
    stats_sum_server(blocks, N_BLOCKS, 0, &sum);
    assert_int_equal(sum.connections, 0);
    assert_int_equal(sum.connect_failures, 0);
    close_blocks(blocks);
}

struct writer {
    struct stats_block *block;
    struct seed seed;
    int is_over;
};

/* One live at a time, opened before they are closed, as a worker does it. */
static void *open_and_close(void *arg)
{
    struct writer *writer = arg;
    struct stats_service *service = &writer->block->services[0];
    uint64_t n_live = 0;

    while (!__atomic_load_n(&writer->is_over, __ATOMIC_RELAXED)) {
        if (n_live < N_LIVE_MAX && (n_live == 0 || seed_next(&writer->seed, 2))) {
            stats_add(&service->connections, 1);
            stats_add(&service->udp.sessions, 1);
            n_live++;
        } else {
            stats_add(&service->closed[1 + seed_next(&writer->seed, CLOSE_REASONS - 1)], 1);
            stats_add(&service->udp.ended, 1);
            n_live--;
        }
    }
    return NULL;
}

/* More may have been opened while the reader went from the closed to the opened, but never fewer:
 * a negative number would be huge here. */
static void check_snapshots(const struct stats_block *blocks)
{
    struct stats_service_sum sum = {0};
    uint64_t last = 0;

    while (sum.connections < N_BLOCKS * 1000) /* all are at work */
        stats_sum_service(blocks, N_BLOCKS, 0, &sum);
    for (int i = 0; i < N_SNAPSHOTS; i++) {
        uint64_t closed = 0;

        /* Mostly of one block: in a sum, a block too high could hide one too low. */
        if (i % 8)
            stats_sum_service(&blocks[i % N_BLOCKS], 1, 0, &sum);
        else
            stats_sum_service(blocks, N_BLOCKS, 0, &sum);
        for (size_t j = 0; j < CLOSE_REASONS; j++)
            closed += sum.closed[j];
        assert_true(sum.active <= UINT64_MAX / 2);
        assert_true(sum.udp.active <= UINT64_MAX / 2);
        assert_int_equal(sum.connections - closed, sum.active);
        if (i % 8)
            continue;
        assert_true(sum.connections >= last);
        last = sum.connections;
    }
}

static void test_active_is_never_negative(void **state)
{
    static struct stats_block blocks[N_BLOCKS];
    struct writer writers[N_BLOCKS];
    pthread_t threads[N_BLOCKS];
    struct seed seed = seed_new();

    (void)state;
    open_blocks(blocks);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        writers[i] = (struct writer){&blocks[i], {seed_next(&seed, UINT64_MAX)}, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &writers[i]), 0);
    }
    check_snapshots(blocks);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        __atomic_store_n(&writers[i].is_over, 1, __ATOMIC_RELAXED);
        pthread_join(threads[i], NULL);
    }
    close_blocks(blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reason_words),
        cmocka_unit_test(test_new_block_is_zero),
        cmocka_unit_test(test_sum_of_service),
        cmocka_unit_test(test_drop_words),
        cmocka_unit_test(test_sum_of_udp),
        cmocka_unit_test(test_sum_of_server),
        cmocka_unit_test(test_active_is_never_negative),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
