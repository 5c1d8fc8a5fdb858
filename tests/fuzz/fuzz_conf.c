/* Any bytes as a configuration file, and as a list of networks: no crash, and what is accepted
 * survives print and read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/check.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/prefix_list.h"
#include "lb4/conf/print.h"
#include "lb4/conf/read.h"

static struct conf_report report;

static int read_all(const char *text, size_t n_bytes, struct conf *conf)
{
    conf_init(conf);
    conf_report_init(&report);
    conf_read_text("fuzz", text, n_bytes, conf, &report);
    return conf_check(conf, &report);
}

static char *print(const struct conf *conf, size_t *ret_n_bytes)
{
    char *text = NULL;
    FILE *stream = open_memstream(&text, ret_n_bytes);

    if (!stream)
        abort();
    conf_print(conf, stream);
    fclose(stream);
    return text;
}

static void check_round_trip(const struct conf *conf)
{
    struct conf again;
    size_t n_first;
    size_t n_second;
    char *first = print(conf, &n_first);
    char *second;

    if (read_all(first, n_first, &again) != 0)
        abort();
    second = print(&again, &n_second);
    if (strcmp(first, second) != 0)
        abort();
    conf_free(&again);
    free(first);
    free(second);
}

/* Each network is in its list once, in order, and is read from its own text. */
static void check_list(const char *text, size_t n_bytes)
{
    struct conf_prefix_list list = {.file = "fuzz"};
    char error[PREFIX_ERROR_MAX];

    conf_report_init(&report);
    if (prefix_list_parse(&list, text, n_bytes, &report) != 0 && list.n > 0)
        abort();
    for (size_t i = 0; i < list.n; i++) {
        struct prefix again;
        char line[PREFIX_TEXT_MAX];

        prefix_format(&list.prefixes[i], line);
        if (!prefix_parse(line, strlen(line), &again, NULL, error) ||
            prefix_compare(&again, &list.prefixes[i]) != 0 ||
            (i > 0 && prefix_compare(&list.prefixes[i - 1], &again) >= 0))
            abort();
    }
    prefix_list_fini(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static FILE *sink;
    struct conf conf;
    int error = read_all((const char *)data, n_bytes, &conf);

    if (!sink)
        sink = fopen("/dev/null", "w");
    if (sink)
        conf_report_write(&report, sink);
    if (error == 0)
        check_round_trip(&conf);
    conf_free(&conf);
    check_list((const char *)data, n_bytes);
    return 0;
}
