#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storm.h"

static const uint64_t ns_per_ms = 1000000u;

static const char usage_text[] =
    "usage: storm --server ADDR:PORT [--server ...] --connect ADDR:PORT [--connect ...] [options]\n"
    "  -n, --connections N    in all (5000)\n"
    "  -c, --concurrent N     at a time (200)\n"
    "  -s, --seed N           repeat a run (random)\n"
    "  -m, --max-size BYTES   longest stream per direction (16777216)\n"
    "  -u, --uniform          sizes uniform, not log-uniform\n"
    "  -r, --reset-percent N  share that ends by RST (20)\n"
    "  -p, --pause-max MS     longest stall of a reader (200)\n"
    "  -t, --timeout SECONDS  without progress = stuck (30)\n";

static const struct option long_options[] = {
    {"server", required_argument, NULL, 'S'},
    {"connect", required_argument, NULL, 'C'},
    {"connections", required_argument, NULL, 'n'},
    {"concurrent", required_argument, NULL, 'c'},
    {"seed", required_argument, NULL, 's'},
    {"max-size", required_argument, NULL, 'm'},
    {"uniform", no_argument, NULL, 'u'},
    {"reset-percent", required_argument, NULL, 'r'},
    {"pause-max", required_argument, NULL, 'p'},
    {"timeout", required_argument, NULL, 't'},
    {NULL, 0, NULL, 0},
};

__attribute__((noreturn)) static void usage(void)
{
    fputs(usage_text, stderr);
    exit(2);
}

static void add_address(const char *text, struct net_addr *list, unsigned *n)
{
    if (*n == STORM_CAP_ADDRESSES || !net_parse(text, &list[(*n)]))
        usage();
    (*n)++;
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (end == text || *end || text[0] == '-' || value < min || value > max)
        usage();
    return value;
}

static void take_option(struct storm *storm, int option)
{
    switch (option) {
    case 'S':
        add_address(optarg, storm->servers, &storm->n_servers);
        break;
    case 'C':
        add_address(optarg, storm->targets, &storm->n_targets);
        break;
    case 'n':
        storm->n_conns = (uint32_t)number(optarg, 1, 10000000);
        break;
    case 'c':
        storm->n_concurrent = (uint32_t)number(optarg, 1, 100000);
        break;
    case 's':
        storm->limits.seed = number(optarg, 0, UINT64_MAX);
        break;
    case 'm':
        storm->limits.max_bytes = number(optarg, 0, 1u << 30);
        break;
    case 'u':
        storm->limits.is_uniform = true;
        break;
    case 'r':
        storm->limits.reset_percent = (unsigned)number(optarg, 0, 100);
        break;
    case 'p':
        storm->limits.pause_max_ms = number(optarg, 0, 10000);
        break;
    case 't':
        storm->timeout_ns = number(optarg, 1, 3600) * 1000 * ns_per_ms;
        break;
    default:
        usage();
    }
}

void storm_read_options(struct storm *storm, int argc, char **argv)
{
    int option;

    storm->n_conns = 5000;
    storm->n_concurrent = 200;
    storm->timeout_ns = 30000 * ns_per_ms;
    storm->limits = (struct plan_limits){.seed = net_now_ns() ^ (uint64_t)getpid() << 40,
                                         .max_bytes = 16u << 20,
                                         .pause_max_ms = 200,
                                         .reset_percent = 20};
    while ((option = getopt_long(argc, argv, "S:C:n:c:s:m:ur:p:t:", long_options, NULL)) != -1)
        take_option(storm, option);
    if (optind != argc || storm->n_servers == 0 || storm->n_targets == 0)
        usage();
}
