/* argv -> configuration -> run; the exit code. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lb4/base/log.h"
#include "lb4/conf/flags.h"
#include "lb4/conf/help.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/origins.h"
#include "lb4/conf/print.h"
#include "lb4/control/lifecycle.h"
#include "lb4/control/names.h"
#include "lb4/control/privileges.h"

#ifndef LB4_VERSION
#define LB4_VERSION "0.1.0"
#endif

enum { EXIT_FINE = 0, EXIT_CANNOT_RUN = 1, EXIT_USAGE = 2 };

static const char *config_name(const struct flags *flags)
{
    return flags->config_file ? flags->config_file : "command line";
}

/* A full disk behind stdout is a failure: somebody may use what was printed. */
static int finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_FINE;
    fputs("lb4: cannot write to standard output\n", stderr);
    return EXIT_CANNOT_RUN;
}

static void set_log_level(int verbosity)
{
    int level = LOG_LEVEL_INFO + verbosity;

    if (level < LOG_LEVEL_ERROR)
        level = LOG_LEVEL_ERROR;
    if (level > LOG_LEVEL_DEBUG)
        level = LOG_LEVEL_DEBUG;
    log_set_level((enum log_level)level);
}

/* Found before the configuration is read, used when it is there. */
static struct lifecycle_options options;

/* The lifecycle takes the configuration over; `conf` is empty afterwards. */
static int run(const struct flags *flags, struct conf *conf)
{
    struct conf *taken = malloc(sizeof(*taken));

    if (!taken) {
        fputs("lb4: out of memory\n", stderr);
        return EXIT_CANNOT_RUN;
    }
    *taken = *conf;
    conf_init(conf);
    options.pid_file = flags->pid_file;
    options.flags = flags;
    options.config_name = config_name(flags);
    set_log_level(flags->verbosity);
    return lifecycle_run(taken, &options);
}

static int act(const struct flags *flags, struct conf *conf)
{
    switch (flags->action) {
    case FLAGS_RUN:
        if (conf_has_marks(conf))
            privileges_keep_mark();
        return run(flags, conf);
    case FLAGS_CHECK:
        printf("%s: configuration is valid\n", config_name(flags));
        return finish_output();
    case FLAGS_PRINT:
        conf_print(conf, stdout);
        return finish_output();
    case FLAGS_VERSION:
        puts("lb4 " LB4_VERSION);
        return finish_output();
    case FLAGS_HELP:
        help_write(stdout);
        return finish_output();
    case FLAGS_BAD_USAGE:
        fprintf(stderr, "lb4: %s\nTry 'lb4 -h' for help.\n", flags->error);
        return EXIT_USAGE;
    }
    return EXIT_CANNOT_RUN;
}

static int act_with_conf(const struct flags *flags)
{
    static struct conf_report report;
    struct conf conf;
    int exit_code;
    int error;

    conf_init(&conf);
    conf_report_init(&report);
    error = flags_read_conf(flags, &conf, &report);
    conf_report_write(&report, stderr);
    if (error == 0 && flags->action == FLAGS_RUN) {
        conf_report_init(&report);
        error = names_resolve(&conf, &options.names, &report);
        conf_report_write(&report, stderr);
    }
    if (error == -EINTR)
        exit_code = EXIT_FINE; /* told to end before anything had begun */
    else
        exit_code = error < 0 ? EXIT_CANNOT_RUN : act(flags, &conf);
    conf_free(&conf);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct flags flags;
    int exit_code;

    flags_parse(argc, argv, &flags);
    if (flags.action == FLAGS_RUN)
        lifecycle_prepare(&options);
    if (flags.action == FLAGS_RUN || flags.action == FLAGS_CHECK || flags.action == FLAGS_PRINT)
        exit_code = act_with_conf(&flags);
    else
        exit_code = act(&flags, NULL);
    if (flags.action == FLAGS_RUN)
        spawner_end(&options.spawner);
    flags_fini(&flags);
    return exit_code;
}
