/* One name, against a getaddrinfo(3) and a res_nquery(3) of our own. */
#include "lb4/probe/lookup.h"

#include <netdb.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "srv_answer.h"

#define NAME "_pg._tcp.example"
#define NUMBERS(...) ((const uint16_t[3]){__VA_ARGS__})

static struct answer answer;
static int host_error; /* of the query */

int __wrap_res_nquery(res_state state, const char *name, int class, int type, unsigned char *into,
                      int n);
int __wrap_res_nquery(res_state state, const char *name, int class, int type, unsigned char *into,
                      int n)
{
    assert_string_equal(name, NAME);
    assert_int_equal(class, 1);
    assert_int_equal(type, TYPE_SRV);
    assert_true((size_t)n >= answer.n);
    state->res_h_errno = host_error;
    if (host_error)
        return -1;
    memcpy(into, answer.bytes, answer.n);
    return (int)answer.n;
}

static int host_trouble; /* of odd.example: EAI_... */

/* 10.0.1.1 and so on. */
static struct addrinfo *many(uint32_t n)
{
    static struct sockaddr_in addrs[16];
    static struct addrinfo infos[16];

    for (uint32_t i = 0; i < n; i++) {
        addrs[i] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000101 + i)};
        infos[i] = (struct addrinfo){.ai_family = AF_INET,
                                     .ai_addr = (struct sockaddr *)&addrs[i],
                                     .ai_next = i + 1 < n ? &infos[i + 1] : NULL};
    }
    return infos;
}

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    static const char *const hosts[] = {"a.example", "b.example"};
    static struct sockaddr_in addrs[2];
    static struct addrinfo infos[2];

    (void)service;
    (void)hints;
    if (strcmp(host, "odd.example") == 0)
        return host_trouble;
    if (strcmp(host, "many.example") == 0) {
        *ret = many(10);
        return 0;
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (strcmp(host, hosts[i]) != 0)
            continue;
        addrs[i] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001 + i)};
        infos[i] = (struct addrinfo){.ai_family = AF_INET, .ai_addr = (struct sockaddr *)&addrs[i]};
        *ret = &infos[i];
        return 0;
    }
    return EAI_NONAME;
}

void __wrap_freeaddrinfo(struct addrinfo *list);
void __wrap_freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

static void check_addr(const struct resolver_name *name, size_t i, const char *expected)
{
    char text[ADDR_TEXT_MAX];

    assert_true(i < name->n_addrs);
    assert_string_equal(addr_format(&name->addrs[i], text), expected);
}

static struct resolver_name run(const char *host, bool is_srv)
{
    struct resolver_name name = {.host = host, .is_srv = is_srv, .n_addrs = 7, .is_cut = true};

    lookup_run(&name);
    return name;
}

static void test_host(void **state)
{
    struct resolver_name name = run("a.example", false);

    (void)state;
    assert_int_equal(name.error, 0);
    assert_int_equal(name.n_addrs, 1);
    check_addr(&name, 0, "10.0.0.1:0");
    name = run("nobody.example", false);
    assert_int_equal(name.error, EAI_NONAME);
    assert_int_equal(name.n_addrs, 0);
}

static void test_srv(void **state)
{
    struct resolver_name name;

    (void)state;
    host_error = 0;
    answer_begin(&answer, NAME, 4);
    answer_srv(&answer, NAME, NUMBERS(2, 5, 9), "b.example");
    answer_srv(&answer, NAME, NUMBERS(1, 6, 7), "a.example");
    answer_srv(&answer, NAME, NUMBERS(3, 8, 7), "a.example"); /* the same, and worse */
    answer_srv(&answer, NAME, NUMBERS(1, 1, 7), "nobody.example");
    name = run(NAME, true);
    assert_int_equal(name.error, 0);
    assert_int_equal(name.n_addrs, 2);
    assert_false(name.is_cut);
    check_addr(&name, 0, "10.0.0.1:7");
    check_addr(&name, 1, "10.0.0.2:9");
    assert_int_equal(name.ranks[0].priority, 1);
    assert_int_equal(name.ranks[0].weight, 6);
    assert_int_equal(name.ranks[1].priority, 2);
}

/* Half of an answer is none. */
static void test_target_that_cannot_be_asked_for(void **state)
{
    static const int troubles[] = {EAI_AGAIN, EAI_FAIL, EAI_MEMORY, EAI_SYSTEM};

    (void)state;
    host_error = 0;
    answer_begin(&answer, NAME, 2);
    answer_srv(&answer, NAME, NUMBERS(1, 6, 7), "a.example");
    answer_srv(&answer, NAME, NUMBERS(1, 6, 7), "odd.example");
    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
        struct resolver_name name;

        host_trouble = troubles[i];
        name = run(NAME, true);
        assert_int_equal(name.error, troubles[i]);
        assert_int_equal(name.n_addrs, 0);
    }
}

/* Of too many addresses those of the lowest priority stay, whatever their numbers. */
static void test_priority_before_address(void **state)
{
    struct resolver_name name;
    size_t n_first = 0;

    (void)state;
    host_error = 0;
    answer_begin(&answer, NAME, 3);
    answer_srv(&answer, NAME, NUMBERS(1, 6, 7), "many.example");
    answer_srv(&answer, NAME, NUMBERS(2, 6, 6), "many.example");
    answer_srv(&answer, NAME, NUMBERS(2, 6, 9), "a.example");
    name = run(NAME, true);
    assert_int_equal(name.n_addrs, 16);
    assert_true(name.is_cut);
    check_addr(&name, 0, "10.0.0.1:9");
    for (size_t i = 0; i < name.n_addrs; i++)
        n_first += name.ranks[i].priority == 1;
    assert_int_equal(n_first, 10);
}

static void test_srv_errors(void **state)
{
    static const int errors[][2] = {{HOST_NOT_FOUND, EAI_NONAME},
                                    {NO_DATA, EAI_NODATA},
                                    {TRY_AGAIN, EAI_AGAIN},
                                    {NO_RECOVERY, EAI_FAIL}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        host_error = errors[i][0];
        assert_int_equal(run(NAME, true).error, errors[i][1]);
    }
    host_error = 0;
    answer.n = 5;
    assert_int_equal(run(NAME, true).error, EAI_FAIL);
    answer_begin(&answer, NAME, 0);
    assert_int_equal(run(NAME, true).error, EAI_NODATA);
}

static void test_error_text(void **state)
{
    (void)state;
    assert_string_equal(lookup_error_text(EAI_NONAME), "Name or service not known");
    assert_string_equal(lookup_error_text(EAI_INPROGRESS), "no answer in time");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),       cmocka_unit_test(test_srv),
        cmocka_unit_test(test_srv_errors), cmocka_unit_test(test_target_that_cannot_be_asked_for),
        cmocka_unit_test(test_error_text), cmocka_unit_test(test_priority_before_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
