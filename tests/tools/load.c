#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: load serve ADDR:PORT MODE [ADDR:PORT MODE ...] [-b BYTES]\n"
    "         MODE: echo | answer (one request, then close) | source | sink\n"
    "       load run SCENARIO ADDR:PORT [-n CONNECTIONS] [-t SECONDS] [-b BYTES]\n"
    "           [-q TEXT] [-a BYTES]\n"
    "         SCENARIO (server mode): pingpong (echo) | crr (answer) | bulk-down (source) |\n"
    "         bulk-up (sink) | idle (echo)\n"
    "  -n, --connections N   (64)   -t, --seconds S  (5)   -b, --bytes N  of a request (64)\n"
    "  -q, --request TEXT  in place of zeros   -a, --answer N  bytes of an answer (as a request)\n";

static const char *const mode_names[LOAD_N_MODES] = {
    [LOAD_ECHO] = "echo",
    [LOAD_ANSWER] = "answer",
    [LOAD_SOURCE] = "source",
    [LOAD_SINK] = "sink",
};

static const char *const scenario_names[LOAD_N_SCENARIOS] = {
    [LOAD_PINGPONG] = "pingpong", [LOAD_CRR] = "crr",   [LOAD_BULK_DOWN] = "bulk-down",
    [LOAD_BULK_UP] = "bulk-up",   [LOAD_IDLE] = "idle",
};

static const struct option long_options[] = {
    {"connections", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 't'},
    {"bytes", required_argument, NULL, 'b'},       {"request", required_argument, NULL, 'q'},
    {"answer", required_argument, NULL, 'a'},      {NULL, 0, NULL, 0},
};

__attribute__((noreturn)) static void usage(void)
{
    fputs(usage_text, stderr);
    exit(2);
}

static unsigned find_name(const char *name, const char *const *names, unsigned n_names)
{
    for (unsigned i = 0; i < n_names; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    usage();
}

static double number(const char *text, double min, double max)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= min && value <= max))
        usage();
    return value;
}

static void take_option(struct load_options *options, int option)
{
    switch (option) {
    case 'n':
        options->n_connections = (unsigned)number(optarg, 1, 100000);
        break;
    case 't':
        options->duration_ns = (uint64_t)(number(optarg, 0.01, 86400) * 1e9);
        break;
    case 'b':
        options->request_bytes = (unsigned)number(optarg, 1, LOAD_BUFFER_BYTES);
        break;
    case 'q':
        options->request = optarg;
        options->request_bytes = (unsigned)strlen(optarg);
        break;
    case 'a':
        options->answer_bytes = (unsigned)number(optarg, 1, LOAD_BUFFER_BYTES);
        break;
    default:
        usage();
    }
}

static void read_options(struct load_options *options, int argc, char **argv)
{
    int option;

    *options =
        (struct load_options){.n_connections = 64, .request_bytes = 64, .duration_ns = 5000000000u};
    while ((option = getopt_long(argc, argv, "n:t:b:q:a:", long_options, NULL)) != -1)
        take_option(options, option);
    if (options->request_bytes == 0 || options->request_bytes > LOAD_BUFFER_BYTES)
        usage();
    if (options->answer_bytes == 0)
        options->answer_bytes = options->request_bytes;
}

static int serve(const struct load_options *options, char **words, int n_words)
{
    struct load_listener listeners[LOAD_CAP_LISTENERS];
    unsigned n_listeners = (unsigned)n_words / 2;

    if (n_words < 2 || n_words % 2 != 0 || n_listeners > LOAD_CAP_LISTENERS)
        usage();
    for (unsigned i = 0; i < n_listeners; i++) {
        if (!net_parse(words[2 * i], &listeners[i].addr))
            usage();
        listeners[i].mode = find_name(words[2 * i + 1], mode_names, LOAD_N_MODES);
    }
    return load_serve(listeners, n_listeners, options->request_bytes);
}

static int run(struct load_options *options, char **words, int n_words)
{
    if (n_words != 2 || !net_parse(words[1], &options->target))
        usage();
    options->scenario = find_name(words[0], scenario_names, LOAD_N_SCENARIOS);
    return load_run(options);
}

int main(int argc, char **argv)
{
    struct load_options options;

    read_options(&options, argc, argv);
    net_prepare_process();
    if (optind < argc && strcmp(argv[optind], "serve") == 0)
        return serve(&options, argv + optind + 1, argc - optind - 1);
    if (optind < argc && strcmp(argv[optind], "run") == 0)
        return run(&options, argv + optind + 1, argc - optind - 1);
    usage();
}
