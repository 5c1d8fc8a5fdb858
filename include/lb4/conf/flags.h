/* The command line: what lb4 is to do, and rules without a file.
 *
 * -l, -s, -b, -o, -w, -u and --no-splice become lines of the configuration and go through the same
 * handlers as the file's (conf/directive.h), with places "command line:ARGUMENT:COLUMN". Given
 * together with a file they win over it. The only user of getopt_long(3). Thread: main. */
#ifndef LB4_CONF_FLAGS_H
#define LB4_CONF_FLAGS_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

enum {
    FLAGS_ERROR_MAX = 160,
    FLAGS_NO_SPLICE = 'n' /* code of the one option without a letter */
};

enum flags_action {
    FLAGS_RUN,
    FLAGS_CHECK, /* -t */
    FLAGS_PRINT, /* -T */
    FLAGS_VERSION,
    FLAGS_HELP,
    FLAGS_BAD_USAGE /* exit 2 with `error` */
};

/* A flag that is a directive. */
struct flags_option {
    char code;         /* the short option's letter; or FLAGS_NO_SPLICE */
    const char *text;  /* its argument, in argv */
    uint32_t argument; /* index in argv */
    uint32_t column;   /* of `text` in that argument, from 1 */
};

struct flags {
    enum flags_action action;
    const char *config_file; /* in argv, or the default; NULL: rules from -l */
    const char *pid_file;    /* in argv, or NULL */
    int verbosity;           /* number of -v less number of -q */
    struct flags_option *options;
    size_t n_options;
    char error[FLAGS_ERROR_MAX]; /* one line, with FLAGS_BAD_USAGE */
};

/* Read argv, which must outlive *ret. Nothing is opened. */
void flags_parse(int argc, char **argv, struct flags *ret);
void flags_fini(struct flags *flags);

/* Make the configuration: the file or the rules, then the flags, then conf_check(). Returns 0, or
 * -EINVAL: see the report. `conf` comes from conf_init(). */
int flags_read_conf(const struct flags *flags, struct conf *conf, struct conf_report *report);

#endif
