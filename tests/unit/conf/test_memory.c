#include "lb4/conf/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Fields of earlier objects survive every move; the sanitizers see what is lost. */
static void test_grow_and_free(void **state)
{
    struct conf conf;

    (void)state;
    conf_init(&conf);
    for (uint32_t i = 0; i < 100; i++) {
        struct conf_service *service = conf_add_service(&conf);

        assert_non_null(service);
        assert_int_equal(service->tries, 0);
        service->tries = i;
        service->check.send = strdup("PING");
        service->check.expect = i % 2 ? strdup("PONG") : NULL;
        for (uint32_t k = 0; k < i; k++) {
            struct conf_server *server = conf_add_server(service);

            server->weight = k;
            server->host = k % 2 ? strdup("db.example") : NULL;
            conf_add_listen(service)->last_port = (uint16_t)k;
        }
    }
    assert_int_equal(conf.n_services, 100);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(conf.services[i].tries, i);
        assert_int_equal(conf.services[i].n_servers, i);
        for (uint32_t k = 0; k < i; k++) {
            assert_int_equal(conf.services[i].servers[k].weight, k);
            assert_int_equal(conf.services[i].listens[k].last_port, k);
        }
    }
    conf_free(&conf);
    assert_int_equal(conf.n_services, 0);
    assert_null(conf.services);
    conf_free(&conf);
}

static void test_free_servers(void **state)
{
    struct conf_service *service;
    struct conf conf;

    (void)state;
    conf_init(&conf);
    service = conf_add_service(&conf);
    for (int i = 0; i < 5; i++)
        conf_add_server(service)->host = strdup("db.example");
    conf_free_servers(service);
    assert_int_equal(service->n_servers, 0);
    assert_null(service->servers);
    assert_null(conf_add_server(service)->host);
    assert_int_equal(service->n_servers, 1);
    conf_free(&conf);
}

static void test_files(void **state)
{
    char name[] = "one";
    const char *first;
    struct conf conf;

    (void)state;
    conf_init(&conf);
    first = conf_add_file(&conf, name);
    name[0] = 'X';
    assert_string_equal(conf_add_file(&conf, "two"), "two");
    assert_string_equal(first, "one");
    assert_string_equal(conf.files[0], "one");
    assert_null(conf.files[2]);
    conf_free(&conf);
    assert_null(conf.files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grow_and_free),
        cmocka_unit_test(test_free_servers),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
