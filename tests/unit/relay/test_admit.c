#include "lb4/relay/admit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lb4/shared/service_table.h"

static const uint64_t S = 1000000000;

static struct service_table table;
static struct service *service;

static void open_service(const struct conf_guard *guard, struct prefix_map *access)
{
    struct conf_server server = {.name = "s1", .weight = 1};
    struct conf_service from = {.name = "g",
                                .servers = &server,
                                .n_servers = 1,
                                .tries = 1,
                                .guard = *guard,
                                .rules.map = access};
    const struct conf conf = {.services = &from, .n_services = 1, .maxconn = 100};

    addr_any(AF_INET, 9, &server.addr);
    assert_int_equal(service_table_init(&table, &conf), 0);
    service = &table.services[0];
}

static int close_service(void **state)
{
    (void)state;
    service_table_fini(&table);
    return 0;
}

static enum refusal ask(const char *client, struct admission *ret)
{
    struct addr addr;

    assert_int_equal(addr_parse(client, &addr), 0);
    return admit_ask(service, &addr, false, S, ret);
}

static void test_what_was_taken_is_given_back_once(void **state)
{
    struct admission first = {0};
    struct admission second = {0};
    struct admission none = {0};

    (void)state;
    open_service(&(struct conf_guard){.per_source = 1, .maxconn = 2}, NULL);
    assert_int_equal(ask("10.0.0.1", &first), REFUSAL_NONE);
    assert_int_equal(ask("10.0.0.1", &second), REFUSAL_PER_SOURCE);
    admit_leave(service, &second); /* was never in */
    assert_int_equal(ask("10.0.0.1", &second), REFUSAL_PER_SOURCE);
    assert_int_equal(ask("10.0.0.2", &second), REFUSAL_NONE);
    assert_int_equal(ask("10.0.0.3", &none), REFUSAL_MAXCONN);
    admit_leave(service, &first);
    admit_leave(service, &first);
    assert_int_equal(ask("10.0.0.3", &first), REFUSAL_NONE);
    assert_int_equal(ask("10.0.0.4", &none), REFUSAL_MAXCONN);
}

static void test_a_session_takes_no_connection(void **state)
{
    struct admission session = {0};
    struct admission connection = {0};
    struct addr addr;

    (void)state;
    assert_int_equal(addr_parse("10.0.0.1", &addr), 0);
    open_service(&(struct conf_guard){.per_source = 2, .maxconn = 1}, NULL);
    assert_int_equal(admit_ask(service, &addr, true, S, &session), REFUSAL_NONE);
    assert_int_equal(ask("10.0.0.1", &connection), REFUSAL_NONE);
    assert_true(connection.guard.has_connection && !session.guard.has_connection);
    admit_leave(service, &connection);
}

/* Rules come first, and a client that they deny takes nothing; each denial counts. */
static void test_denied_and_banned(void **state)
{
    char error[PREFIX_ERROR_MAX];
    struct prefix net;
    const struct prefix_rule deny = {.prefixes = &net, .n_prefixes = 1};
    struct prefix_map *map;
    struct admission places = {0};
    struct addr addr;

    (void)state;
    assert_true(prefix_parse("10.0.0.0/8", 10, &net, NULL, error));
    map = prefix_map_new(&deny, 1, true);
    assert_non_null(map);
    open_service(&(struct conf_guard){.maxconn = 1,
                                      .ban = {.n_refused = 2, .within_ms = 1000, .for_ms = 1000}},
                 map);
    prefix_map_release(map);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask("10.0.0.1", &places), REFUSAL_DENIED);
    assert_int_equal(addr_parse("11.0.0.1", &addr), 0);
    admit_note_refusal(service, &addr, REFUSAL_PEER, S);
    admit_note_refusal(service, &addr, REFUSAL_HEADER, S);
    admit_note_refusal(service, &addr, REFUSAL_HEADER_LATE, S);
    assert_int_equal(ask("11.0.0.1", &places), REFUSAL_NONE);
    admit_leave(service, &places);
    admit_note_refusal(service, &addr, REFUSAL_PEER, S);
    assert_int_equal(ask("11.0.0.1", &places), REFUSAL_BANNED);
    assert_int_equal(ask("12.0.0.1", &places), REFUSAL_NONE);
}

static void test_each_refusal_has_its_word(void **state)
{
    (void)state;
    for (int i = 0; i < REFUSALS; i++) {
        enum close_reason reason = admit_close_reason((enum refusal)i);

        assert_true(reason == CLOSE_DENIED || reason == CLOSE_LIMIT);
        assert_int_equal(admit_drop_reason((enum refusal)i),
                         reason == CLOSE_DENIED ? UDP_DROP_DENIED : UDP_DROP_LIMIT);
    }
    assert_int_equal(admit_close_reason(REFUSAL_BANNED), CLOSE_DENIED);
    assert_int_equal(admit_close_reason(REFUSAL_RATE), CLOSE_LIMIT);
    assert_int_equal(admit_close_reason(REFUSAL_NONE), CLOSE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_what_was_taken_is_given_back_once, close_service),
        cmocka_unit_test_teardown(test_a_session_takes_no_connection, close_service),
        cmocka_unit_test_teardown(test_denied_and_banned, close_service),
        cmocka_unit_test(test_each_refusal_has_its_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
