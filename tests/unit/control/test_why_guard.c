#include "lb4/control/why_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t S = 1000000000;

static struct conf_service service;

static int prepare(void **state)
{
    (void)state;
    service = (struct conf_service){
        .name = "db",
        .guard = {.per_source = 2,
                  .maxconn = 50,
                  .rate_source = {10, 1000, 20},
                  .rate_datagrams = {5, 3600000, 6},
                  .rate = {100, 60000, 7},
                  .ban = {.n_refused = 3, .within_ms = 1000, .for_ms = 60000}}};
    return 0;
}

static void check(const struct guard_outlook *outlook, const char *expected)
{
    struct guard_outlook copy = *outlook;
    char text[WHY_GUARD_MAX];

    strcpy(copy.source, "10.0.0.9");
    assert_int_equal(why_guard(&service, &copy, text), outlook->refusal == REFUSAL_NONE);
    assert_string_equal(text, expected);
}

static void test_refused(void **state)
{
    (void)state;
    check(&(struct guard_outlook){.refusal = REFUSAL_BANNED, .banned_ns = 59 * S + 1},
          "The client would be refused (banned): 10.0.0.9 is banned for 60 s more; lb4ctl unban db "
          "10.0.0.9 lets it in.");
    check(&(struct guard_outlook){.refusal = REFUSAL_PER_SOURCE, .n_live = 3},
          "The client would be refused (per_source): 10.0.0.9 has 3 of 2 (limit per-source).");
    check(&(struct guard_outlook){.refusal = REFUSAL_RATE_SOURCE, .rate_room = 0},
          "The client would be refused (rate_source): 10.0.0.9 has used up rate per-source 10/s "
          "burst 20.");
    check(&(struct guard_outlook){.refusal = REFUSAL_RATE_SOURCE, .rate_room = 1},
          "The client would be refused (rate_source): 10.0.0.9 has used up rate datagrams "
          "per-source 5/h burst 6.");
    check(&(struct guard_outlook){.refusal = REFUSAL_RATE},
          "The client would be refused (rate): the service has used up rate 100/m burst 7.");
    check(&(struct guard_outlook){.refusal = REFUSAL_MAXCONN, .n_connections = 50},
          "The client would be refused (maxconn): the service has 50 connections (maxconn 50).");
}

static void test_let_in(void **state)
{
    const struct guard_outlook outlook = {.refusal = REFUSAL_NONE,
                                          .n_live = 1,
                                          .n_refused = 2,
                                          .rate_room = 19,
                                          .datagrams_room = 6,
                                          .service_rate_room = 5,
                                          .n_connections = 44};

    (void)state;
    check(&outlook,
          "Limits let the client in; 10.0.0.9 has 1 of 2 open, may begin 19 at once (rate "
          "per-source 10/s burst 20), may send 6 datagrams at once, and 2 of 3 refusals to a ban; "
          "the service takes 5 at once (rate 100/m burst 7); the service has 44 of 50 "
          "connections.");
    service.guard = (struct conf_guard){.maxconn = 50};
    check(&outlook, "Limits let the client in; the service has 44 of 50 connections.");
    service.guard = (struct conf_guard){.ban = {.n_refused = 3}};
    check(&outlook, "Limits let the client in; 10.0.0.9 has 1 open, and 2 of 3 refusals to a ban.");
    service.guard = (struct conf_guard){0};
    check(&outlook, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_refused, prepare),
        cmocka_unit_test_setup(test_let_in, prepare),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
