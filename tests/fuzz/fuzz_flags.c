/* Any bytes as a command line, its arguments separated by NUL bytes. Files are not opened. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/flags.h"
#include "lb4/conf/memory.h"

enum { ARGS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static struct conf_report report;
    char name[] = "lb4";
    char *argv[ARGS_MAX + 1] = {name};
    char *text = calloc(n_bytes + 1, 1);
    struct flags flags;
    struct conf conf;
    int argc = 1;

    if (!text)
        return 0;
    if (n_bytes > 0)
        memcpy(text, data, n_bytes);
    for (size_t at = 0; at < n_bytes && argc < ARGS_MAX; at += strlen(text + at) + 1)
        argv[argc++] = text + at;
    flags_parse(argc, argv, &flags);
    if (flags.action == FLAGS_RUN && !flags.config_file) {
        conf_init(&conf);
        conf_report_init(&report);
        flags_read_conf(&flags, &conf, &report);
        conf_free(&conf);
    }
    flags_fini(&flags);
    free(text);
    return 0;
}
