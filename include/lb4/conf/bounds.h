/* The bounds of what a configuration may say. Those marked "chosen" are ours to move. */
#ifndef LB4_CONF_BOUNDS_H
#define LB4_CONF_BOUNDS_H

#include <stdint.h>

enum {
    CONF_NAME_MAX = 64,     /* bytes of a name, without the NUL: [A-Za-z0-9._-]{1,64} */
    CONF_WORKERS_MAX = 256, /* threads */
    CONF_WEIGHT_MAX = 256,  /* of a server */
    CONF_PRIORITY_MAX = 16, /* of a server; 1 is first */
    CONF_EVICT_MAX = 10000, /* failures of clients until a server is evicted; chosen */
    CONF_TRIES_MAX = 100,   /* servers tried for one client when connects time out */
    CONF_QUEUE_MAX = 1000,  /* clients that wait for a place where nothing else is said; chosen */
    CONF_QUEUE_TIMEOUT_MS = 5000, /* ... each so long; chosen: a pause, not a hang */
    CONF_COUNT_MAX = 100,         /* rise and fall of a check */
    CONF_SERVERS_MAX =
        4096, /* of one service; chosen: the roundrobin sequence stays below 2^20 entries */
    CONF_SERVERS_ALL_MAX = 262144, /* of all services together; chosen */
    CONF_SERVICES_MAX = 4096,      /* chosen */
    CONF_LISTENS_MAX = 1024,       /* listen lines of one service; chosen */
    CONF_MAXCONN_MAX = 10000000,   /* chosen: beyond any RLIMIT_NOFILE (fs.nr_open) in use */
    CONF_PIPES_MAX = 4096,         /* pipes of one worker; chosen */
    CONF_FASTOPEN_MAX = 65535, /* handshakes with data that wait; chosen, as the kernel's backlog */
    CONF_DEFER_MAX_S = 3600,   /* chosen */
    CONF_MODE_MAX = 0777,
    CONF_MODE = 0660,              /* of a listener's socket file: as most daemons make theirs */
    CONF_PATH_MAX = 107,           /* bytes of a Unix socket's path, unix(7) */
    CONF_FILE_MAX = 1023,          /* bytes of a file's path; chosen */
    CONF_HOST_MAX = 253,           /* bytes of a host name, RFC 1035 */
    CONF_UDP_COUNT_MAX = 10000000, /* answers and sessions; chosen */
    CONF_USER_MAX = 128, /* bytes of an account; chosen: MariaDB's longest, others have less */
    CONF_TEXT_MAX = 480  /* bytes of what a check sends or expects; chosen: two of them escaped as
                            \\xHH fit on a line (LEX_LINE_MAX) */
};

/* Of `resolve`: in the place of a time. */
static const uint64_t CONF_RESOLVE_OFF = UINT64_MAX;

static const uint64_t CONF_DURATION_MAX_MS = 365ull * 24 * 3600 * 1000;

#endif
