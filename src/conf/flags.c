#include "lb4/conf/flags.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/check.h"
#include "lb4/conf/file.h"
#include "lb4/conf/rules.h"

static const char default_file[] = "/etc/lb4/lb4.conf";

/* '+': no permutation, so that optind tells which argument we are at. */
static const char short_options[] = "+:c:tTl:s:b:o:w:u:p:vqVh";

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"check", no_argument, NULL, 't'},
    {"print", no_argument, NULL, 'T'},
    {"listen", required_argument, NULL, 'l'},
    {"server", required_argument, NULL, 's'},
    {"balance", required_argument, NULL, 'b'},
    {"option", required_argument, NULL, 'o'},
    {"workers", required_argument, NULL, 'w'},
    {"user", required_argument, NULL, 'u'},
    {"pidfile", required_argument, NULL, 'p'},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {"no-splice", no_argument, NULL, FLAGS_NO_SPLICE},
    {NULL, 0, NULL, 0},
};

static void usage_error(struct flags *flags, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void usage_error(struct flags *flags, const char *format, ...)
{
    va_list args;

    if (flags->action == FLAGS_BAD_USAGE)
        return;
    flags->action = FLAGS_BAD_USAGE;
    va_start(args, format);
    vsnprintf(flags->error, sizeof(flags->error), format, args);
    va_end(args);
}

static void add_option(struct flags *flags, char code, char **argv)
{
    const char *argument = argv[optind - 1];
    struct flags_option *option = &flags->options[flags->n_options++];

    *option = (struct flags_option){.code = code, .text = "off", .column = 1};
    option->argument = (uint32_t)optind - 1;
    if (code == FLAGS_NO_SPLICE)
        return;
    option->text = optarg;
    if (optarg != argument)
        option->column = (uint32_t)(optarg - argument) + 1;
}

static void set_once(struct flags *flags, const char **target, const char *name)
{
    if (*target)
        usage_error(flags, "%s is given twice", name);
    *target = optarg;
}

static void take_bad_option(struct flags *flags, int code, char **argv)
{
    char quote[CONF_QUOTE_MAX];
    const char *argument = argv[optind - 1];

    conf_quote(argument, strlen(argument), quote);
    if (code == ':')
        usage_error(flags, "%s needs an argument", quote);
    else if (optopt != 0 && strncmp(argument, "--", 2) == 0)
        usage_error(flags, "%s takes no argument", quote);
    else if (optopt != 0)
        usage_error(flags, "unknown option '-%c'", optopt > 0x20 && optopt < 0x7f ? optopt : '?');
    else
        usage_error(flags, "unknown option %s", quote);
}

static void take_option(struct flags *flags, int code, char **argv)
{
    switch (code) {
    case 'c':
        set_once(flags, &flags->config_file, "-c");
        break;
    case 'p':
        set_once(flags, &flags->pid_file, "-p");
        break;
    case 't':
        flags->action = FLAGS_CHECK;
        break;
    case 'T':
        flags->action = FLAGS_PRINT;
        break;
    case 'V':
        flags->action = FLAGS_VERSION;
        break;
    case 'h':
        flags->action = FLAGS_HELP;
        break;
    case 'v':
        flags->verbosity++;
        break;
    case 'q':
        flags->verbosity--;
        break;
    case '?':
    case ':':
        take_bad_option(flags, code, argv);
        break;
    default:
        add_option(flags, (char)code, argv);
    }
}

/* -s and -b belong to the rule of the -l before them. */
static void check_usage(struct flags *flags)
{
    bool has_rule = false;

    for (size_t i = 0; i < flags->n_options; i++) {
        char code = flags->options[i].code;

        has_rule = has_rule || code == 'l';
        if (code == 'l' && flags->config_file)
            usage_error(flags, "-c and -l cannot be given together");
        if ((code == 's' || code == 'b') && !has_rule)
            usage_error(flags, "-%c belongs to a rule: give -l before it", code);
    }
    if (!has_rule && !flags->config_file)
        flags->config_file = default_file;
}

static bool is_final(enum flags_action action)
{
    return action == FLAGS_BAD_USAGE || action == FLAGS_HELP || action == FLAGS_VERSION;
}

void flags_parse(int argc, char **argv, struct flags *ret)
{
    char quote[CONF_QUOTE_MAX];

    *ret = (struct flags){.action = FLAGS_RUN};
    ret->options = calloc((size_t)argc + 1, sizeof(*ret->options));
    if (!ret->options) {
        usage_error(ret, "out of memory");
        return;
    }
    optind = 0; /* glibc: begin anew, whatever was parsed before (getopt(3), Notes) */
    opterr = 0;
    while (!is_final(ret->action)) {
        int code = getopt_long(argc, argv, short_options, long_options, NULL);

        if (code == -1)
            break;
        take_option(ret, code, argv);
    }
    if (is_final(ret->action))
        return;
    if (optind < argc)
        usage_error(ret, "unexpected argument %s",
                    conf_quote(argv[optind], strlen(argv[optind]), quote));
    check_usage(ret);
}

void flags_fini(struct flags *flags)
{
    free(flags->options);
    flags->options = NULL;
    flags->n_options = 0;
}

int flags_read_conf(const struct flags *flags, struct conf *conf, struct conf_report *report)
{
    if (flags->config_file)
        conf_read_file(flags->config_file, conf, report);
    rules_read(flags, conf, report);
    return conf_check(conf, report);
}
