#include "lb4/shared/state_event.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char text[1024];

static const char *told(bool is_json, const struct state_event *event)
{
    int ends[2];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    log_use(log_sink_new_fd(ends[1], is_json));
    log_set_level(LOG_LEVEL_ERROR); /* it is told all the same */
    state_event_tell(LOG_LEVEL_INFO, event, "server %s/%s is it", event->service, "s");
    log_use(log_sink_new_fd(STDERR_FILENO, false));
    close(ends[1]);
    n = read(ends[0], text, sizeof(text) - 1);
    close(ends[0]);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void test_told(void **state)
{
    const struct state_event server = {"web", "s", "down", "connection refused",
                                       1999 * CLOCK_NS_PER_MS};
    const struct state_event service = {.service = "web", .state = "up"};

    (void)state;
    assert_non_null(strstr(told(false, &server), "Z INFO main: server web/s is it\n"));
    assert_null(strstr(text, "refused"));
    assert_non_null(strstr(told(true, &server),
                           "\"event\":\"state\",\"service\":\"web\",\"server\":\"s\","
                           "\"state\":\"down\",\"why\":\"connection refused\",\"lasted_s\":1,"
                           "\"message\":\"server web/s is it\"}\n"));
    assert_non_null(strstr(told(true, &service),
                           "\"service\":\"web\",\"server\":null,\"state\":\"up\",\"why\":null,"
                           "\"lasted_s\":0,\"message\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
