/* Operators' commands: a table of words, arguments, handlers and help. Each reads a snapshot, or
 * stores a wish that other threads obey at their next turn; some wait for what becomes of the wish.
 *
 * A request is one line of words with blanks between; "--json" may be the last. A reply is any
 * number of lines, then one that is "ok", or "error" and a sentence. Thread: control. */
#ifndef LB4_CONTROL_COMMAND_H
#define LB4_CONTROL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lb4/control/line.h"
#include "lb4/control/reply.h"
#include "lb4/control/snapshot.h"

enum { COMMAND_WORDS_MAX = 16, COMMAND_ERROR_MAX = 256 }; /* the second with its NUL */

enum command_result {
    COMMAND_DONE,
    COMMAND_FAILED, /* with a sentence in call->error */
    COMMAND_WAITS   /* call->wait tells for what; ask command_check() again and again */
};

enum command_wait_kind {
    COMMAND_WAIT_EMPTY,   /* the server holds no connection */
    COMMAND_WAIT_USABLE,  /* the server takes clients */
    COMMAND_WAIT_LIST,    /* a sweep that lists */
    COMMAND_WAIT_BUSIEST, /* two of them, if it is long since the last */
    COMMAND_WAIT_KILL,    /* a sweep that ends connections */
    COMMAND_WAIT_RELOAD,  /* a run of reload */
    COMMAND_WAIT_WEIGHT,  /* another change is under way; `number` is the weight */
    COMMAND_WAIT_WHY      /* a sweep that lists, for `why` */
};

/* Names and not pointers: what is waited for may be gone by then. */
struct command_wait {
    enum command_wait_kind kind;
    char service[CONF_NAME_MAX + 1];
    char server[CONF_NAME_MAX + 1];
    struct addr client; /* of `why`; port 0 = any */
    uint64_t number;    /* of the sweep (0 = not begun) or the run; the weight */
    uint64_t wait_ms;
    size_t n_busiest;  /* that are wanted */
    bool is_first;     /* of two sweeps for one answer */
    uint64_t begin_ns; /* of the sweep, not before then */
    uint64_t until_ns;
};

/* One request and what becomes of it. */
struct command_call {
    /* Set by the caller. */
    const struct snapshot_from *from;
    struct reply *reply; /* empty when a command begins */
    uid_t uid;           /* who asks */
    uint64_t now_ns;

    /* For the handlers. */
    size_t n_words;
    const char *words[COMMAND_WORDS_MAX];
    char error[COMMAND_ERROR_MAX];
    bool keeps_body; /* an error comes behind lines that tell more */
    struct command_wait wait;
};

/* Carry a line out, whose bytes are changed. Unless it waits, the reply is complete. */
enum command_result command_run(struct command_call *call, char *line);

/* The command waits: is it over by now? The same as command_run() then. */
enum command_result command_check(struct command_call *call);

/* Which server an operator means. */
struct command_target {
    struct service *service;
    struct backend *backend;
};

/* For handlers: find "SERVICE/SERVER" in words[1]; with `even_removed` also one that is not in the
 * configuration any more but still has connections. false: there is none, call->error says so. */
bool command_find_target(struct command_call *call, struct command_target *ret, bool even_removed);
/* The same by its names. */
bool command_find_server(struct command_call *call, const char *service, const char *server,
                         struct command_target *ret, bool even_removed);

/* For handlers: returns COMMAND_FAILED. */
enum command_result command_fail(struct command_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
