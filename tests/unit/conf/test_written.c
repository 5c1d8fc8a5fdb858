#include "lb4/conf/written.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char host[] = "db.example";

static void test_written(void **state)
{
    struct conf_server plain[2] = {{.weight = 1}, {.weight = 2}};
    struct conf_server named[1] = {{.host = host}};
    struct conf_service service = {.servers = plain, .n_servers = 2};
    size_t n;

    (void)state;
    assert_ptr_equal(conf_written(&service, &n), plain);
    assert_int_equal(n, 2);
    assert_false(conf_has_names(&service));
    service.written = named;
    service.n_written = 1;
    assert_ptr_equal(conf_written(&service, &n), named);
    assert_int_equal(n, 1);
    assert_true(conf_has_names(&service));
}

/* Without a check line several servers are probed, and one, also by name, is not. */
static void test_is_checked(void **state)
{
    struct conf_server named[2] = {{.host = host}, {.host = host}};
    struct conf_listen listen = {.transport = CONF_TCP};
    struct conf_service service = {
        .servers = named, .n_servers = 1, .listens = &listen, .n_listens = 1, .resolve_ms = 1};

    (void)state;
    assert_false(conf_is_checked(&service));
    service.n_servers = 2;
    assert_true(conf_is_checked(&service));
    service.n_servers = 0;
    assert_false(conf_is_checked(&service));
    service.written = named;
    service.n_written = 2;
    assert_true(conf_is_checked(&service));
    listen.transport = CONF_UDP;
    assert_false(conf_is_checked(&service));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
