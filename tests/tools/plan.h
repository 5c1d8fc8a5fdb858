/* What one storm connection is going to do, drawn from (seed, connection id) alone, so that a run
 * can be repeated and both of its ends know what to expect. Pure. */
#ifndef LB4_TESTS_TOOLS_PLAN_H
#define LB4_TESTS_TOOLS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_HEADER_BYTES = 32, PLAN_CAP_STALLS = 3 };

enum plan_side { PLAN_CLIENT, PLAN_SERVER, PLAN_NOBODY };

/* Who waits for whom. At most one side waits, so no plan can lock itself up. */
enum plan_order {
    PLAN_FREE,                /* both send at once and end when they are done */
    PLAN_CLIENT_FIN_LAST,     /* the client withholds its FIN until it has seen the server's */
    PLAN_SERVER_FIN_LAST,     /* the reverse */
    PLAN_REQUEST_THEN_ANSWER, /* the server sends nothing before the client's FIN */
    PLAN_ANSWER_THEN_UPLOAD,  /* the client sends only its header before the server's FIN */
    PLAN_N_ORDERS
};

/* How an end moves bytes. */
enum plan_pace {
    PLAN_BIG_CHUNKS,  /* 1 byte to 64 KiB per call */
    PLAN_TINY_CHUNKS, /* 100 bytes per call for the first 256 KiB, then as above */
};

struct plan_stall {
    uint64_t at_bytes; /* received bytes after which reading stops */
    uint32_t pause_ms; /* 1..200 */
};

struct plan_end {
    uint64_t send_bytes; /* the client's includes the header */
    uint64_t receive_bytes;
    enum plan_pace pace;
    uint32_t fin_delay_ms; /* between the last byte and the FIN */
    unsigned n_stalls;
    struct plan_stall stalls[PLAN_CAP_STALLS]; /* ascending */
};

struct plan {
    enum plan_order order;
    enum plan_side resetter; /* which side ends by RST in place of its FIN */
    bool is_early_reset; /* a client's reset that does not wait until the server has read the header
                          */
    uint64_t reset_at_bytes; /* sent bytes after which the resetter resets */
    struct plan_end ends[2]; /* by enum plan_side */
};

struct plan_limits {
    uint64_t seed;
    uint64_t max_bytes;     /* per direction, without the header */
    uint64_t pause_max_ms;  /* longest stall, 0 = none */
    unsigned reset_percent; /* share of connections that end by RST */
    bool is_uniform;        /* sizes uniform instead of log-uniform */
};

void plan_draw(const struct plan_limits *limits, uint32_t id, struct plan *ret_plan);

/* The first bytes of the client's stream: who it is and what it is going to do. */
void plan_write_header(const struct plan *plan, uint32_t id, uint8_t header[PLAN_HEADER_BYTES]);

/* Returns the connection id, or -1 if these are not the bytes of a header of this run.
 * The caller compares the whole with plan_write_header() of that id. */
int64_t plan_read_id(const uint8_t header[PLAN_HEADER_BYTES]);

#endif
