/* The directives of the configuration: one table behind the file and the flags.
 *
 * A handler gets a line whose word, block and number of arguments are right already. It judges the
 * arguments, stores them in the model, and reports what is wrong; it never stops the reading. What
 * this version does not build is judged in the same way and then refused ('not in this version').
 * Internal to conf/. */
#ifndef LB4_CONF_DIRECTIVE_H
#define LB4_CONF_DIRECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/lex.h"
#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

enum section { SECTION_GLOBAL = 1, SECTION_DEFAULTS = 2, SECTION_SERVICE = 4 };

/* A word that only some transports can have, until the end of its service tells which are there. */
struct reader_claim {
    const char *word; /* constant */
    struct conf_place place;
};

enum { READER_CLAIMS_MAX = 4 }; /* udp-on-down, udp-responses, udp-sessions, rate datagrams */

/* The reading of one source; conf/read.h drives it. */
struct reader {
    struct conf *conf;
    struct conf_report *report;
    const char *file;             /* for places; owned by conf or constant */
    unsigned accepts;             /* enum section bits of the block we are in */
    uint64_t seen_outside;        /* directives already given, as bits of the table's index: */
    uint64_t seen_in_service;     /* at the top level and in defaults, in this service */
    struct conf_place opened_at;  /* the block we are in */
    size_t n_errors_before_block; /* a broken service is not also told to lack a server */
    unsigned skip_depth;          /* blocks entered whose content is not judged */
    struct reader_claim udp_words[READER_CLAIMS_MAX]; /* of this service: need a UDP listener */
    size_t n_udp_words;
    struct reader_claim tcp_check; /* what a check says that only TCP can have, or NULL */
};

typedef void directive_fn(struct reader *reader, const struct lex_line *line);

struct directive {
    const char *word;
    const char *sub;   /* the second word where it is part of the name: "timeout idle" */
    unsigned sections; /* enum section bits: where it may stand */
    size_t min_args;   /* words behind the name */
    size_t max_args;
    bool is_repeatable;
    bool takes_bytes; /* words may hold NUL bytes */
    directive_fn *apply;
    const char *form; /* for messages: the whole directive with its ranges */
};

/* The row that `line` begins with in one of the `sections`, with its index; or NULL, reported
 * together with the words that are accepted there. */
const struct directive *directive_find(struct reader *reader, const struct lex_line *line,
                                       unsigned *ret_index);

/* For the engine and the handlers. */
struct conf_place reader_place(const struct reader *reader, const struct lex_line *line, size_t i);
void reader_error(struct reader *reader, const struct lex_line *line, size_t i, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
void reader_refuse(struct reader *reader, const struct lex_line *line, size_t i);
struct conf_service *reader_service(struct reader *reader);
/* directive_udp.c: the word is right only if the service listens on UDP. */
void reader_claim_udp(struct reader *reader, const struct lex_line *line, const char *word);

#endif
