/* lb4ctl: one command to a running lb4. The words go to it as they are, its table comes back
 * aligned. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/lb4ctl/client.h"
#include "lb4/lb4ctl/columns.h"
#include "lb4/lb4ctl/top.h"

#ifndef LB4_VERSION
#define LB4_VERSION "?"
#endif

enum {
    LINE_MAX_BYTES = 4096, /* what lb4 takes */
    PATIENCE_S = 10        /* for an answer that waits for nothing; chosen */
};

struct request {
    const char *socket;
    bool is_json;
    bool is_waiting; /* it may take its time */
    char line[LINE_MAX_BYTES + 1];
};

static const char usage[] =
    "Usage: lb4ctl [-s SOCKET] [--json] COMMAND...\n"
    "Ask a running lb4, or tell it what to do.\n"
    "\n"
    "  lb4ctl show services|servers|connections|names|info|config\n"
    "                                               what it does now\n"
    "  lb4ctl show sources|affinity [--busiest N] SERVICE\n"
    "                                               where clients come from; who holds them\n"
    "  lb4ctl show bans [SERVICE]                   who is banned, for how long, and for what\n"
    "  lb4ctl drain SERVICE/SERVER [--wait TIME]    no new connections, live ones finish\n"
    "  lb4ctl maint SERVICE/SERVER [--wait TIME]    the same, and no probes\n"
    "  lb4ctl ready SERVICE/SERVER [--wait TIME]    back into service\n"
    "  lb4ctl weight SERVICE/SERVER N               another weight, 1..256\n"
    "  lb4ctl kill SERVICE/SERVER                   reset all connections on it\n"
    "  lb4ctl rebalance SERVICE [--over 5m]         end what overloaded servers have too much\n"
    "  lb4ctl unban SERVICE ADDRESS|all             end a ban, or all of them\n"
    "  lb4ctl reload [--dry-run] [--confirm 60s]    read the configuration anew\n"
    "  lb4ctl confirm                               keep what that changed\n"
    "  lb4ctl why SERVICE CLIENT-ADDRESS            which server that client would get, and why\n"
    "  lb4ctl doctor                                what limits this lb4, and what lifts it\n"
    "  lb4ctl top [SERVICE] [--interval 1s] [--sort COLUMN] [-n N]\n"
    "                                               all that goes on, live; ? there for help\n"
    "  lb4ctl help                                  all commands of the lb4 that runs\n"
    "\n"
    "--wait TIME, as in 60s: until the last connection has gone (drain, maint), or the server "
    "takes\n"
    "clients (ready).\n"
    "\n"
    "  -s, --socket SOCKET  the `admin` socket of its configuration; default /run/lb4/admin.sock\n"
    "  -j, --json           one JSON value instead of a table\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Exit: 0 fine, 1 the command failed, 2 wrong usage, 3 no lb4 there, or no permission.\n";

static const struct option long_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* --- the request ------------------------------------------------------------------------------ */

static bool add_word(struct request *request, const char *word)
{
    size_t n = strlen(request->line);

    if (!*word || strpbrk(word, " \t\r\n")) {
        fprintf(stderr, "lb4ctl: '%s' is not one word\n", word);
        return false;
    }
    if (n + 1 + strlen(word) > LINE_MAX_BYTES) {
        fprintf(stderr, "lb4ctl: the command is longer than %d bytes\n", LINE_MAX_BYTES);
        return false;
    }
    snprintf(request->line + n, sizeof(request->line) - n, "%s%s", n ? " " : "", word);
    return true;
}

/* --json stands anywhere on the command line, and last on the wire. */
static bool add_words(struct request *request, char **words)
{
    for (; *words; words++) {
        if (strcmp(*words, "--json") == 0)
            request->is_json = true;
        else if (!add_word(request, *words))
            return false;
        if (strcmp(*words, "--wait") == 0 || strcmp(*words, "reload") == 0)
            request->is_waiting = true;
    }
    return true;
}

static const char *socket_path(const char *argument)
{
    return strncmp(argument, "unix:", 5) == 0 ? argument + 5 : argument;
}

static int finish_output(void);

static int run_top(const struct request *request, char **words)
{
    if (!request->is_json)
        return top_run(request->socket, words);
    fputs("lb4ctl: top has no JSON: show services, servers, connections --busiest N have\n",
          stderr);
    return EXIT_USAGE;
}

/* Returns -1 to go on, else the exit code. */
static int read_arguments(int argc, char **argv, struct request *request)
{
    int option;

    while ((option = getopt_long(argc, argv, "+s:jhV", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            request->socket = socket_path(optarg);
            break;
        case 'j':
            request->is_json = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return finish_output();
        case 'V':
            puts("lb4ctl " LB4_VERSION);
            return finish_output();
        default:
            fputs("Try 'lb4ctl -h' for help.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind == argc) {
        fputs("lb4ctl: no command\nTry 'lb4ctl -h' for help.\n", stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[optind], "top") == 0)
        return run_top(request, argv + optind + 1);
    if (!add_words(request, argv + optind) || (request->is_json && !add_word(request, "--json")))
        return EXIT_USAGE;
    return -1;
}

/* --- the answer ------------------------------------------------------------------------------- */

/* A reader that has seen enough (`| head`) is no trouble, a full disk is. */
static int finish_output(void)
{
    errno = 0;
    if ((fflush(stdout) == 0 && !ferror(stdout)) || errno == EPIPE)
        return EXIT_FINE;
    fprintf(stderr, "lb4ctl: cannot write to standard output: %s\n", strerror(errno));
    return EXIT_FAILED;
}

static bool is_coloured(void)
{
    const char *no_color = getenv("NO_COLOR"); /* no-color.org */
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
           !(term && strcmp(term, "dumb") == 0);
}

/* Sentences may stand before a table. Returns what follows them. */
static char *print_sentences(char *body)
{
    while (*body && !columns_are_in(body)) {
        size_t n = strcspn(body, "\n");

        n += body[n] == '\n';
        fwrite(body, 1, n, stdout);
        body += n;
    }
    return body;
}

static int print_body(const struct request *request, char *body)
{
    if (!request->is_json)
        body = print_sentences(body);
    if (request->is_json)
        fputs(body, stdout);
    else if (*body && columns_write(body, is_coloured(), stdout) < 0) {
        fputs("lb4ctl: no memory\n", stderr);
        return EXIT_FAILED;
    }
    return finish_output();
}

static int ask(const struct request *request)
{
    struct client_answer answer;
    enum client_result result =
        client_ask(request->socket, request->line, request->is_waiting ? 0 : PATIENCE_S, &answer);
    int code = client_exit_code(result);

    if (result == CLIENT_OK)
        code = print_body(request, answer.body);
    else
        fprintf(stderr, "%slb4ctl: %s\n", answer.body ? answer.body : "", answer.message);
    client_answer_fini(&answer);
    return code;
}

int main(int argc, char **argv)
{
    static struct request request = {.socket = "/run/lb4/admin.sock"};
    int code;

    signal(SIGPIPE, SIG_IGN);
    code = read_arguments(argc, argv, &request);
    return code < 0 ? ask(&request) : code;
}
