/* What the prober (probe/program.h) and the process that runs programs (probe/program_host.h) say
 * to each other, over a pair of SOCK_SEQPACKET sockets: a request, and one answer to it. Pure.
 *
 * Both ends are the same binary, so a packet is a struct. Its lengths are checked all the same: the
 * process at the other end has seen the output of somebody's programs. */
#ifndef LB4_PROBE_PROGRAM_WIRE_H
#define LB4_PROBE_PROGRAM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/probe/health.h"

enum {
    PROGRAMS_MAX = 64,       /* programs at a time; chosen: 1,000 servers fork no bomb */
    PROGRAM_TEXT_MAX = 2048, /* bytes: a path of CONF_FILE_MAX and the environment fit */
    PROGRAM_ENV_MAX = 8,     /* variables */
    PROGRAM_LINE_MAX = 100,  /* bytes of a program's first line, with the NUL; chosen: what the
                                note of a server takes (shared/note.h) */
    PROGRAM_WORDS_MAX = 96   /* bytes, with the NUL: what an attempt and a note hold */
};

/* Start a program; or, with timeout_ns 0, kill the one of this id, which is then not answered. */
struct program_request {
    uint64_t id;
    uint64_t timeout_ns;         /* from its start on */
    uint32_t n_bytes;            /* of the text */
    char text[PROGRAM_TEXT_MAX]; /* the path, NAME=VALUE ..., each with its NUL */
};

enum program_fate {
    PROGRAM_EXITED,      /* value: its status */
    PROGRAM_KILLED,      /* by signal `value`, not ours */
    PROGRAM_TIMED_OUT,   /* killed by us */
    PROGRAM_NOT_STARTED, /* value: errno of execve(2) */
    PROGRAM_NOT_TRIED,   /* value: errno; there was no process, no descriptor to try it with */
    PROGRAM_HOST_BEGINS  /* no answer: the process at the other end is the `value`th, from 1; what
                            was asked of the one before is lost */
};

struct program_answer {
    uint64_t id;
    int32_t fate; /* enum program_fate */
    int32_t value;
    char line[PROGRAM_LINE_MAX]; /* the first that it printed, "" = none; any bytes but NUL */
};

/* Put the path in; then variables, one by one. false: the text is full, nothing is added. */
bool program_request_begin(struct program_request *request, const char *path, size_t n_path);
bool program_request_env(struct program_request *request, const char *name, const char *value);

/* How much of it is to be sent. */
size_t program_request_size(const struct program_request *request);

/* Is a packet of n_bytes a whole request? Then *ret_env is its environment, into its text. */
bool program_request_open(const struct program_request *request, size_t n_bytes,
                          const char *ret_env[static PROGRAM_ENV_MAX + 1]);

/* Take bytes of the output in, up to the end of the first line that is not blank; `line` begins as
 * "". true: it is whole, what follows does not matter. */
bool program_line_take(char line[static PROGRAM_LINE_MAX], const char *bytes, size_t n_bytes);

/* What an answer means for the server. */
enum health_outcome program_outcome(const struct program_answer *answer);

/* Why, for the log: "exit 1: replication lag 340 s", printable ASCII (others as \xHH), cut; into
 * `text`, returns `text`. NULL for one that timed out without a word: who asked knows how long. */
const char *program_words(const struct program_answer *answer, char text[static PROGRAM_WORDS_MAX]);

#endif
