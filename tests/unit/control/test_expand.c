#include "lb4/control/expand.h"

#include <errno.h>
#include <stdlib.h>

#include "../conf/conf_text.h"
#include "lb4/conf/memory.h"

static struct name_sets sets;
static struct conf conf;
static struct conf_report report;

/* A service with these lines, from line 3 on. */
static void read_servers(const char *lines)
{
    static char text[4096];

    snprintf(text, sizeof(text), "service a {\nlisten tcp :80\n%s\n}\n", lines);
    conf_text_accept(text, &conf);
    conf_report_init(&report);
}

/* The name is found with these addresses, which blanks separate, in order. */
static struct name_set *put(const char *host, bool is_srv, const char *addrs)
{
    struct resolver_name answer = {0};
    char *copy = strdup(addrs);
    char *rest = copy;
    char *word;

    while ((word = strsep(&rest, " ")))
        assert_int_equal(addr_parse(word, &answer.addrs[answer.n_addrs++]), 0);
    free(copy);
    name_set_take(name_sets_add(&sets, host, is_srv), &answer, 1);
    return name_sets_find(&sets, host, is_srv);
}

static int end(void **state)
{
    (void)state;
    conf_free(&conf);
    name_sets_fini(&sets);
    return 0;
}

static void expand(void)
{
    assert_int_equal(expand_conf(&conf, &conf, &sets, NULL), 0);
}

/* "db 10.0.0.1:5, db-2 10.0.0.2:5 w3 p2 b" */
static void check(const char *expected)
{
    char text[1024] = "";
    size_t n = 0;

    for (size_t i = 0; i < conf.services[0].n_servers; i++) {
        const struct conf_server *server = &conf.services[0].servers[i];
        char addr[ADDR_TEXT_MAX];
        char weight[16] = "";
        char priority[16] = "";

        assert_null(server->host);
        if (server->weight != 1)
            snprintf(weight, sizeof(weight), " w%u", server->weight);
        if (server->priority > 1)
            snprintf(priority, sizeof(priority), " p%u", server->priority);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %s%s%s%s", i ? ", " : "",
                              server->name, addr_format(&server->addr, addr), weight, priority,
                              server->is_backup ? " b" : "");
    }
    assert_string_equal(text, expected);
}

/* Names stay with addresses, whatever else comes and goes. */
static void test_names_stay(void **state)
{
    (void)state;
    read_servers("server db db.example:5");
    put("db.example", false, "10.0.0.2");
    expand();
    check("db 10.0.0.2:5");
    put("db.example", false, "10.0.0.1 10.0.0.2 10.0.0.3");
    expand();
    check("db-2 10.0.0.1:5, db 10.0.0.2:5, db-3 10.0.0.3:5");
    put("db.example", false, "10.0.0.3");
    expand();
    check("db-3 10.0.0.3:5");
    put("db.example", false, "10.0.0.3 10.0.0.4");
    expand();
    check("db-3 10.0.0.3:5, db 10.0.0.4:5");
    put("db.example", false, "10.0.0.7");
    expand();
    check("db 10.0.0.7:5");
    assert_string_equal(conf.services[0].written[0].host, "db.example");
    assert_int_equal(conf.services[0].n_written, 1);
}

static void test_names_of_others(void **state)
{
    (void)state;
    read_servers("server db db.example:5 weight 3 backup\nserver db-2 10.0.0.9:5\n"
                 "server db-3 db.example\nserver none none.example:1");
    put("db.example", false, "10.0.0.1 10.0.0.2");
    expand();
    check("db 10.0.0.1:5 w3 b, db-4 10.0.0.2:5 w3 b, db-2 10.0.0.9:5, db-3 10.0.0.1:0, db-3-2 "
          "10.0.0.2:0");
    assert_int_equal(conf.services[0].servers[1].of, 1);
    assert_int_equal(conf.services[0].servers[2].of, 0);
    assert_int_equal(conf.services[0].servers[3].of, 3);
}

/* What was added is named in the order of addresses, so that two balancers agree. */
static void test_without_a_present(void **state)
{
    (void)state;
    read_servers("server db db.example:5");
    put("db.example", false, "10.0.0.1 10.0.0.2 2001:db8::1");
    assert_int_equal(expand_conf(&conf, NULL, &sets, &report), 0);
    check("db 10.0.0.1:5, db-2 10.0.0.2:5, db-3 [2001:db8::1]:5");
}

static void rank(struct name_set *set, size_t i, uint16_t port, struct resolver_rank rank)
{
    addr_set_port(&set->good.addrs[i], port);
    set->good.ranks[i] = rank;
}

static void test_srv(void **state)
{
    struct name_set *set;

    (void)state;
    read_servers("server db srv:_a.example");
    set = put("_a.example", true, "10.0.0.1 10.0.0.2 10.0.0.3");
    rank(set, 0, 11, (struct resolver_rank){5, 256});
    rank(set, 1, 12, (struct resolver_rank){5, 0});
    rank(set, 2, 13, (struct resolver_rank){6, 7});
    expand();
    check("db 10.0.0.1:11 w256, db-2 10.0.0.2:12, db-3 10.0.0.3:13 w7 p2");
    rank(set, 0, 11, (struct resolver_rank){9, 65535});
    rank(set, 1, 12, (struct resolver_rank){9, 32768});
    rank(set, 2, 13, (struct resolver_rank){9, 100});
    expand();
    check("db 10.0.0.1:11 w256, db-2 10.0.0.2:12 w128, db-3 10.0.0.3:13");
}

/* Left out, and told; a name that was used before is no reason to fail. */
static void test_left_out(void **state)
{
    struct name_set *set;

    (void)state;
    read_servers("server db db.example:80");
    set = put("db.example", false, "0.0.0.0 10.0.0.1 127.0.0.1");
    set->is_used = true;
    assert_int_equal(expand_conf(&conf, &conf, &sets, &report), 0);
    check("db 10.0.0.1:80");
    assert_string_equal(set->problem, "db.example is 0.0.0.0: a wildcard is no server's address");
    put("db.example", false, "10.0.0.1 127.0.0.1");
    assert_int_equal(expand_conf(&conf, &conf, &sets, &report), 0);
    check("db 10.0.0.1:80");
    assert_string_equal(set->problem, "db.example is 127.0.0.1: our own listener, connections "
                                      "would go round in a circle");
    put("db.example", false, "10.0.0.1");
    expand();
    assert_string_equal(set->problem, "");
    assert_int_equal(report.n_errors + report.n_warnings, 0);

    set->is_used = false;
    put("db.example", false, "0.0.0.0");
    assert_int_equal(expand_conf(&conf, &conf, &sets, &report), -EINVAL);
    assert_int_equal(report.n_errors, 1);
    check("db 10.0.0.1:80");
}

static void test_cut(void **state)
{
    struct name_set *set;

    (void)state;
    read_servers("server db db.example:5");
    set = put("db.example", false, "10.0.0.1");
    set->good.is_cut = true;
    assert_int_equal(expand_conf(&conf, NULL, &sets, &report), 0);
    assert_int_equal(report.n_warnings, 1);
    assert_string_equal(report.warnings[0].text,
                        "server 'db': db.example has more than 16 addresses, the lowest are used");
}

static void test_long_names(void **state)
{
    char lines[256];
    char name[CONF_NAME_MAX + 1];
    struct name_set *set;

    (void)state;
    memset(name, 'n', CONF_NAME_MAX);
    name[CONF_NAME_MAX] = '\0';
    snprintf(lines, sizeof(lines), "server %s db.example:1", name);
    read_servers(lines);
    set = put("db.example", false, "10.0.0.1 10.0.0.2");
    expand();
    assert_int_equal(conf.services[0].n_servers, 1);
    assert_non_null(strstr(set->problem, "is longer than 64 bytes: it is left out"));
}

static void test_too_many(void **state)
{
    char *text = NULL;
    size_t n;
    FILE *stream = open_memstream(&text, &n);
    struct name_set *set;

    (void)state;
    assert_non_null(stream);
    fputs("service a {\nlisten tcp :80\nserver x x.example:1\n", stream);
    for (int i = 0; i < CONF_SERVERS_MAX - 3; i++)
        fprintf(stream, "server n%d 198.51.100.1:%d\n", i, 1 + i);
    fprintf(stream, "}\n");
    fclose(stream);
    conf_text_accept(text, &conf);
    free(text);
    set = put("x.example", false, "10.0.0.1 10.0.0.2 10.0.0.3");
    expand();
    assert_int_equal(conf.services[0].n_servers, CONF_SERVERS_MAX);
    assert_string_equal(set->problem, "");
    put("x.example", false, "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4");
    expand();
    assert_int_equal(conf.services[0].n_servers, CONF_SERVERS_MAX);
    assert_non_null(strstr(set->problem, "more than 4096 servers: some are left out"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_names_stay, end),
        cmocka_unit_test_teardown(test_names_of_others, end),
        cmocka_unit_test_teardown(test_without_a_present, end),
        cmocka_unit_test_teardown(test_srv, end),
        cmocka_unit_test_teardown(test_left_out, end),
        cmocka_unit_test_teardown(test_cut, end),
        cmocka_unit_test_teardown(test_long_names, end),
        cmocka_unit_test_teardown(test_too_many, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
