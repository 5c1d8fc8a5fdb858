/* Readings of a running lb4 for lb4ctl top: one each interval, over one connection, into what is
 * shown. An lb4 that goes away is asked for again each second. */
#ifndef LB4_LB4CTL_TOP_READER_H
#define LB4_LB4CTL_TOP_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/lb4ctl/top_link.h"
#include "lb4/lb4ctl/top_options.h"
#include "lb4/lb4ctl/top_view.h"

struct top_reader {
    const char *path;
    const struct top_options *options;
    struct top_view *view;
    struct top_link link; /* poll link.fd, unless it is -1 */
    bool is_asking;
    bool has_shown;   /* something was */
    bool is_lost;     /* there was no answer, and lb4 is asked for again */
    bool has_trouble; /* an answer of this reading was an error */
    size_t n_answers; /* of this reading */
    uint64_t asked_ns;
    uint64_t due_ns;           /* of top_reader_step(); UINT64_MAX = paused */
    uint64_t n_readings;       /* that are whole */
    enum client_result result; /* else it is over, and view->message says why */
};

void top_reader_init(struct top_reader *reader, const char *path, const struct top_options *options,
                     struct top_view *view);
void top_reader_fini(struct top_reader *reader);

/* It is due: ask; or say that no answer has come. `n_connections` = how many of them are wanted. */
void top_reader_step(struct top_reader *reader, size_t n_connections, uint64_t now_ns);

/* The connection has input. */
void top_reader_take(struct top_reader *reader, uint64_t now_ns);

/* Ask no more, and give the place at lb4 back; begin anew, at once. */
void top_reader_pause(struct top_reader *reader);
void top_reader_resume(struct top_reader *reader, uint64_t now_ns);

#endif
